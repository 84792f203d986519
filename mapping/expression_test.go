package mapping_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/mapping"
)

func TestExpressionFaultsSayWhere(t *testing.T) {
	for _, test := range []struct {
		change func(*mapping.Rules)
		want   string
	}{
		{func(r *mapping.Rules) { r.Segments = `[traits.trait2, "hard` }, "users.segments: is wrong near character"},
		{func(r *mapping.Rules) { r.FromTrackBody = `{"email": }` },
			"users.from_track_body: is wrong near character 11"},
		{func(r *mapping.Rules) { r.Transform = strings.Repeat("a.", 50_000) },
			"events.transform: is no JSONata expression: longer than 65536 bytes"},
		{func(r *mapping.Rules) { r.Transform = " " }, "events.transform: is "},
		{func(r *mapping.Rules) { r.FromTrack = "" }, "users.from_track: is empty"},
		{func(r *mapping.Rules) { r.FromTrack = " \n" }, "users.from_track: is empty"},
		{func(r *mapping.Rules) { r.FromTrack = "ALWAYS" },
			`users.from_track: is "ALWAYS": use always, or a JSONata expression`},
		{func(r *mapping.Rules) { r.FromTrack = "missing_user" },
			`users.from_track: is "missing_user": use missing, or a JSONata expression`},
		{func(r *mapping.Rules) { r.FromTrack = "event ==" }, "users.from_track: is wrong near character"},
		{func(r *mapping.Rules) { r.InvalidSegments = "" },
			`users.invalid_segments: is "": use discard_invalid, discard_all or sanitize`},
	} {
		rules := mapping.DefaultRules()
		test.change(&rules)
		err := rules.Validate()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v\nwant %s", err, test.want)
		}
		if fault, ok := errors.AsType[*mapping.RuleError](err); !ok || strings.ContainsAny(err.Error(), "\n") {
			t.Errorf("want one RuleError, got %+v", fault)
		}
	}
}

// TestExpressionTime checks that a mapping without a time, as in replays, gives the same result each time.
func TestExpressionTime(t *testing.T) {
	mapper := mustMapper(t, func(r *mapping.Rules) {
		r.FromTrackBody = `{"customFields": {"at": $now()}}`
		r.Segments = `"s" & $string($millis())`
	})
	for event, want := range map[string]string{
		`{"type":"track","userId":"u","event":"e",` +
			`"timestamp":"2001-02-03T04:05:06.007Z"}`: `"at":"2001-02-03T04:05:06.007Z"`,
		`{"type":"track","userId":"u","event":"e"}`:                   `"at":"1970-01-01T00:00:00.000Z"`,
		`{"type":"identify","userId":"u","receivedAt":1567503483594}`: `"segments":["s1567503483594"]`,
		`{"type":"identify","userId":"u"}`:                            `"segments":["s0"]`,
	} {
		result := mapper.Map([]byte(event), time.Time{})
		checkResult(t, []byte(event), &result)
		if len(result.Upserts) != 1 || !strings.Contains(string(result.Upserts[0].Body), want) {
			t.Errorf("%s became %s, want %s", event, result.AppendJSON(nil), want)
		}
	}
}

// TestExpressionFaultsAreShort checks that an expression cannot flood the log with its errors.
func TestExpressionFaultsAreShort(t *testing.T) {
	mapper := mustMapper(t, func(r *mapping.Rules) { r.Segments = `$error(traits.text)` })
	for _, text := range []string{strings.Repeat("é", 1000), `\ud800\n`, "\xff"} {
		event := []byte(`{"type":"identify","userId":"u","traits":{"text":"` + text + `"}}`)
		result := mapper.Map(event, goldenNow)
		checkResult(t, event, &result)
		if result.Reason != mapping.RejectExpressionFailed || len(result.Detail) > 250 {
			t.Errorf("%q: %+v", text, result)
		}
	}
}

// TestExpressionsSeeUTF8 checks events whose strings are not UTF-8.
func TestExpressionsSeeUTF8(t *testing.T) {
	mapper := mustMapper(t, func(r *mapping.Rules) { r.FromTrackBody = `{"firstName": properties.name}` })
	result := mapper.Map(
		[]byte("{\"type\":\"track\",\"userId\":\"u\",\"event\":\"e\",\"properties\":{\"name\":\"J\xff\",\"\xfe\":1}}"),
		goldenNow)
	if got, want := string(result.Upserts[0].Body), `{"id":"u","accountId":"u","firstName":"J�"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestExpressionsAtOnce maps in many goroutines, for the race detector.
func TestExpressionsAtOnce(t *testing.T) {
	mapper := mustMapper(t, func(r *mapping.Rules) {
		r.FromTrack = `properties.n > 10 ? "ALWAYS" : "MISSING_USER"`
		r.Transform = `$`
	})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				result := mapper.Map([]byte(`{"type":"track","userId":"u","event":"e","properties":{"n":11}}`),
					goldenNow)
				if result.Ensure != mapping.EnsureAlways ||
					string(result.UserEvent.Body) != `{"userId":"u","accountId":"u","events":[{"key":"e",`+
						`"fields":{"n":11}}]}` {
					t.Errorf("got %s", result.AppendJSON(nil))
				}
			}
		})
	}
	all.Wait()
}

// TestTransformHasTheLastWord checks that an order is sent as the operator's expression makes it, although
// SaaSquatch's schema of orders is closed.
func TestTransformHasTheLastWord(t *testing.T) {
	mapper := mustMapper(t, func(r *mapping.Rules) {
		r.Transform = `$merge([$, {"fields": $merge([fields, {"gift": "yes", "note": [[1]]}])}])`
	})
	event := []byte(
		`{"type":"track","userId":"u","event":"Order Completed","timestamp":"2026-10-31T12:00:00Z",` +
			`"properties":{"revenue":"10.50","dropped":1}}`)
	result := mapper.Map(event, goldenNow)
	checkResult(t, event, &result)
	want := `{"userId":"u","accountId":"u","events":[{"key":"purchase","fields":{"revenue":10.5,"gift":"yes",` +
		`"note":"[[1]]"},"dateTriggered":1793448000000}]}`
	if got := string(result.UserEvent.Body); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
