package mapping_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/mapping"
)

func mapperOf(t testing.TB, change func(*mapping.Rules)) *mapping.Mapper {
	t.Helper()
	rules := mapping.DefaultRules()
	rules.AnyAge = true
	if change != nil {
		change(&rules)
	}
	mapper, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return mapper
}

const nodeID = "node-0123456789abcdef0123456789abcdef-743be593-7789-4b74-8078-cbcc8894c586" // of analytics-node

// TestIdentityIsStored compares identities with those in existing stores. Another program computed them from the
// description of the identity.
func TestIdentityIsStored(t *testing.T) {
	for event, want := range map[string]int64{
		`{"type":"track","userId":"u","event":"Signed Up","messageId":"m"}`: 8311934401807003855,
		`{"type":"track","userId":"u","event":"Signed Up","messageId":"m",` +
			`"timestamp":"2026-11-26T07:57:16Z"}`: -3450676414866815287,
		`{"type":"identify","userId":"u","messageId":"m","timestamp":"2026-11-26T07:57:16Z",` +
			`"traits":{"email":"a@example.com"}}`: 1370488933937779531,
		`{"messageId":"m\u00e9","user_id":7,"Type":"TRACK","event":"Caf\u00e9","timestamp":" ",` +
			`"receivedAt":1793448000,"properties":{"total":1}}`: 4438567653095760555,
		`{"type":"track","userId":"u","event":"Signed Up","messageId":12345678}`:   7763763577085875309,
		`{"type":"track","userId":"u","event":"Signed Up","messageId":"12345678"}`: 0,
		`{"type":"track","userId":"u","event":"Signed Up","messageId":""}`:         0,
		`{"type":"track","userId":"u","event":"Signed Up","messageId":null}`:       0,
		`{"type":"track","userId":"u","event":"Signed Up"}`:                        0,
	} {
		got := mapperOf(t, nil).Map([]byte(event), time.Time{})
		if got.Identity != want || got.Kind != mapping.KindUserEvent && got.Kind != mapping.KindUserUpsert {
			t.Errorf("%s: got %d, want %d", event, got.Identity, want)
		}
		keyed := strings.Contains(event, `"messageId":"12345678"`)
		if got.Keyed() != keyed || (got.UserEvent.IdempotencyKey != "") != keyed {
			t.Errorf("%s: keyed %v, key %q", event, got.Keyed(), got.UserEvent.IdempotencyKey)
		}
	}
}

// TestIdentityOfCall compares the identity for a selector with that of the result. The result has none if there is a
// key or no messageId.
func TestIdentityOfCall(t *testing.T) {
	for messageID, want := range map[string]int64{
		`"messageId":"m",`:         1370488933937779531,
		`"messageId":12345678,`:    4754243457063855637,
		`"messageId":"12345678",`:  4754243457063855637,
		`"messageId":"message-2",`: 8779071154661324887,
		`"messageId":"",`:          -1512086705321597961,
		``:                         -1512086705321597961,
	} {
		var seen int64
		event := `{"type":"identify","userId":"u",` + messageID + `"timestamp":"2026-11-26T07:57:16Z"}`
		got := mapperOf(t, nil).MapWith([]byte(event), time.Time{},
			mapping.Options{Selects: func(c *mapping.Call) (mapping.Kind, mapping.Reason, string) {
				seen = c.Identity()
				return 0, "", ""
			}})
		if seen != want || got.Identity != 0 && got.Identity != seen {
			t.Errorf("%s: got %d, want %d; the result has %d", event, seen, want, got.Identity)
		}
	}
}

// TestIdentityOfOneEvent spells one event in several ways and maps it by several rules.
func TestIdentityOfOneEvent(t *testing.T) {
	of := func(mapper *mapping.Mapper, event string) int64 {
		t.Helper()
		got := mapper.Map([]byte(event), time.Time{})
		if got.Identity == 0 {
			t.Errorf("%s has no identity: %+v", event, got)
		}
		return got.Identity
	}
	live := `{"type":"track","userId":"u-é","event":"Order Completed","messageId":"` + nodeID +
		`","timestamp":"2026-11-26T07:57:16.123Z",` +
		`"originalTimestamp":"2026-11-26T07:57:16.000Z","receivedAt":"2026-11-26T07:57:17Z","integrations":{},` +
		`"properties":{"revenue":"39.95","plan":"a"}}`
	want := of(mapperOf(t, nil), live)
	for name, event := range map[string]string{
		"order and escapes": `{"timestamp":"2026-11-26T07:57:16.123Z","messageId":"` + nodeID +
			`","event":"\u004frder Completed","userId":"u-\u00e9","type":"Track","properties":{"revenue":39.95}}`,
		"of a replay by Segment": `{"type":"track","userId":"u-é","event":"Order Completed","messageId":"` + nodeID +
			`","timestamp":"2026-11-26T07:57:16.123Z",` +
			`"receivedAt":"2027-01-01T00:00:00Z","sentAt":"2027-01-01T00:00:00Z",` +
			`"integrations":{"All":false,"Webhooks":true},"writeKey":"k"}`,
		"other spellings": `{"Type":"track","user_id":"u-é","Event":"Order Completed","message_id":"` + nodeID +
			`","timestamp":"2026-11-26T07:57:16.123Z"}`,
	} {
		if got := of(mapperOf(t, nil), event); got != want {
			t.Errorf("%s: got %d, want %d", name, got, want)
		}
	}
	for name, change := range map[string]func(*mapping.Rules){
		"keys":          func(r *mapping.Rules) { r.Keys = map[string]string{"Order Completed": "order_completed"} },
		"revenue_scale": func(r *mapping.Rules) { r.RevenueScale = "100" },
		"remap_orders":  func(r *mapping.Rules) { r.RemapOrders = false },
		"account_id":    func(r *mapping.Rules) { r.AccountID = []string{"properties.plan"} },
		"transform":     func(r *mapping.Rules) { r.Transform = `$merge([$, {"fields": {"at": $now()}}])` },
	} {
		if got := of(mapperOf(t, change), live); got != want {
			t.Errorf("under other %s: got %d, want %d", name, got, want)
		}
	}
}

// TestIdentitiesDiffer compares events that differ in one field of the identity.
func TestIdentitiesDiffer(t *testing.T) {
	const event = `{"type":%q,"userId":%q,"event":%q,"messageId":%q,"timestamp":%q,"receivedAt":%q}`
	mapper := mapperOf(t, nil)
	seen := make(map[int64]string)
	for _, fields := range [][]any{
		{"track", "ab", "c", "m", "t", "r"}, {"identify", "ab", "c", "m", "t", "r"},
		{"track", "a", "bc", "m", "t", "r"}, {"track", "ab", "cm", "m", "t", "r"},
		{"track", "ab", "c", "m\u00e9", "t", "r"}, {"track", "ab", "c", "m", "t ", "r"},
		{"track", "ab", "c", "m", "", "r"}, {"track", "ab", "c", "m", "", " "},
		{"track", "ab", "c", "m", "T", "r"}, {"track", "ab", "C", "m", "t", "r"}, {"track", "AB", "c", "m", "t", "r"},
		{"track", "ab", "c", "M", "t", "r"},
	} {
		text := fmt.Sprintf(event, fields...)
		got := mapper.Map([]byte(text), time.Time{}).Identity
		if other := seen[got]; other != "" || got&1 == 0 {
			t.Errorf("%s has the identity %d of %s", text, got, other)
		}
		seen[got] = text
	}
}

// TestEventName checks Segment's name of an event in every result.
func TestEventName(t *testing.T) {
	for event, want := range map[string]string{
		`{"type":"track","userId":"u","event":"Order Completed","messageId":"message-1"}`: "Order Completed",
		`{"type":"track","userId":"u","event":"Caf\u00e9 "}`:                              "Café ",
		`{"type":"track","userId":"u","event":"購入"}`:                                      "購入",
		`{"type":"track","event":"Anonymous"}`:                                            "Anonymous",
		`{"userId":"u","event":"Untyped"}`:                                                "Untyped",
		`{"type":"track","userId":"u","event":7}`:                                         "",
		`{"type":"identify","userId":"u"}`:                                                "",
		`not JSON`:                                                                        "",
	} {
		if got := mapperOf(t, nil).Map([]byte(event), time.Time{}); got.Event != want {
			t.Errorf("%s: got %q, want %q", event, got.Event, want)
		}
	}
}
