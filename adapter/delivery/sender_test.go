package delivery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

type attempts = []adapter.Attempt

var (
	unknownUser = adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonUserNotFound, Status: 404}
	doNotTrack  = adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonDoNotTrack, Status: 400}
)

func mappedEvent(ensure mapping.Ensure) *mapping.Result {
	return &mapping.Result{
		Kind: mapping.KindUserEvent, MessageID: "message-1", Ensure: ensure,
		UserEvent: mapping.UserEvent{UserID: "u", AccountID: "a", Key: "x", IdempotencyKey: "message-1",
			Body: []byte(`{}`)},
		Upserts: []mapping.UserUpsert{{UserID: "u", AccountID: "a",
			Body: []byte(`{"id":"u","accountId":"a","firstName":"B"}`)}},
	}
}

func mappedUpserts(bodies ...string) *mapping.Result {
	mapped := &mapping.Result{Kind: mapping.KindUserUpsert, MessageID: "message-1"}
	for _, body := range bodies {
		mapped.Upserts = append(mapped.Upserts, mapping.UserUpsert{UserID: "u", AccountID: "a", Body: []byte(body)})
	}
	return mapped
}

// TestSenderDecides goes through every course that an attempt at an event can take.
// It compares the sender with the rules as they are written down: in words, here.
func TestSenderDecides(t *testing.T) {
	tracks := map[string]adapter.Attempt{
		"delivered": delivered, "conflict": conflict, "unknown user": unknownUser, "refused": refused,
		"do not track": doNotTrack,
		"busy":         busy, "timeout": timedOut, "wrong key": wrongKey,
	}
	upserts := map[string]adapter.Attempt{
		"delivered": delivered, "refused": refused, "do not track": doNotTrack, "busy": busy, "timeout": timedOut,
		"wrong key": wrongKey,
	}
	courses := 0
	for _, ensure := range []mapping.Ensure{0, mapping.EnsureNever, mapping.EnsureMissing, mapping.EnsureAlways} {
		for _, before := range []bool{false, true} {
			for _, known := range []bool{false, true} {
				for first := range tracks {
					for upsert := range upserts {
						for second := range tracks {
							name := fmt.Sprintf("ensure %d before %t known %t: %s, %s, %s", ensure, before, known,
								first, upsert, second)
							script := deliverytest.Script(0, attempts{tracks[first], tracks[second]},
								attempts{upserts[upsert]})
							c := NewSender(script, SenderOptions{EnsureBefore: before})
							if known {
								c.known.add("a", "u")
							}
							got := c.Send(t.Context(), mappedEvent(ensure))
							calls := script.Kinds()
							made := strings.Join(calls, " ")
							courses++

							ahead := ensure == mapping.EnsureAlways || ensure == mapping.EnsureMissing && before &&
								!known
							wantMade, decides, reason := "track", tracks[first], tracks[first].Reason
							switch {
							case ahead && (upserts[upsert].Outcome == adapter.Pending || upsert == "do not track"):
								wantMade, decides, reason = "upsert", upserts[upsert], upserts[upsert].Reason
							case ahead:
								wantMade = "upsert track"
							case ensure == mapping.EnsureMissing && first == "unknown user" && upsert != "delivered":
								wantMade, decides, reason = "track upsert", upserts[upsert], upserts[upsert].Reason
							case ensure == mapping.EnsureMissing && first == "unknown user":
								wantMade, decides, reason = "track upsert track", tracks[second], tracks[second].Reason
								if second == "conflict" {
									reason = mapping.ReasonConflictAfterFailure
								}
							}
							if made != wantMade || got.Outcome != decides.Outcome || got.Reason != reason ||
								got.Status != decides.Status || got.Misconfigured != decides.Misconfigured {
								t.Errorf("%s: %s gives %+v, want %s and %v %s", name, made, got, wantMade,
									decides.Outcome, reason)
							}
							if got.Requests != len(calls) {
								t.Errorf("%s: %d requests, counted %d", name, len(calls), got.Requests)
							}
							if last := calls[len(calls)-1]; got.Outcome == adapter.Pending &&
								got.Unprocessed != (last == "upsert" || decides.Unprocessed) {
								t.Errorf("%s: %s is unprocessed=%t", name, made, got.Unprocessed)
							}
							wantKnown := known
							for i, call := range calls {
								answer := upserts[upsert]
								if call == "track" {
									answer = tracks[map[bool]string{true: first,
										false: second}[!slices.Contains(calls[:i], "track")]]
								}
								wantKnown = (wantKnown || answer.Outcome == adapter.Delivered) &&
									answer.Reason != mapping.ReasonUserNotFound
							}
							if c.known.has("a", "u") != wantKnown {
								t.Errorf("%s: %s leaves the user known=%t", name, made, !wantKnown)
							}
							warned := slices.Contains(got.Warnings, adapter.WarningUpsertRefused)
							if want := ahead && upsert == "refused"; warned != want {
								t.Errorf("%s: warnings %v", name, got.Warnings)
							}
						}
					}
				}
			}
		}
	}
	if want := 4 * 2 * 2 * 8 * 6 * 8; courses != want {
		t.Errorf("%d courses, want %d", courses, want)
	}
}

func TestSenderMakesTheUserOfAnEvent(t *testing.T) {
	for _, test := range []struct {
		upserts []mapping.UserUpsert
		want    string
	}{
		{mappedEvent(0).Upserts, `{"id":"u","accountId":"a","firstName":"B"}`},
		{nil, `{"id":"u \"1\"","accountId":"日本"}`},
	} {
		mapped := mappedEvent(mapping.EnsureMissing)
		if mapped.Upserts = test.upserts; test.upserts == nil {
			mapped.UserEvent.UserID, mapped.UserEvent.AccountID = `u "1"`, "日本"
		}
		script := deliverytest.Script(0, attempts{unknownUser, delivered}, attempts{delivered})
		if got := NewSender(script, SenderOptions{}).Send(t.Context(), mapped); got.Outcome != adapter.Delivered ||
			script.Bodies()[0] != test.want {
			t.Errorf("%+v: %s, want %s", got, script.Bodies()[0], test.want)
		}
	}
}

func TestSenderSendsUpsertsInOrder(t *testing.T) {
	for _, test := range []struct {
		answers attempts
		made    int
		want    adapter.Outcome
	}{
		{attempts{delivered}, 3, adapter.Delivered},
		{attempts{delivered, busy, delivered}, 2, adapter.Pending},
		{attempts{timedOut}, 1, adapter.Pending},
		{attempts{delivered, delivered, refused}, 3, adapter.Dead},
		{attempts{doNotTrack}, 1, adapter.Dead},
	} {
		script := deliverytest.Script(0, nil, test.answers)
		c := NewSender(script, SenderOptions{})
		got := c.Send(t.Context(), mappedUpserts(`{"n":0}`, `{"n":1}`, `{"n":2}`))
		if calls := script.Requests(); calls != test.made || got.Outcome != test.want ||
			got.Unprocessed != (test.want == adapter.Pending) {
			t.Errorf("%v: %d calls, %+v", test.answers, calls, got)
		}
		for i, body := range script.Bodies() {
			if body != fmt.Sprintf(`{"n":%d}`, i) {
				t.Errorf("upsert %d is %s", i, body)
			}
		}
		if c.known.has("a", "u") != (test.answers[0].Outcome == adapter.Delivered) {
			t.Errorf("%v: known=%t", test.answers, c.known.has("a", "u"))
		}
	}
}

// TestRefusedFieldsBlockNoUser has SaaSquatch refuse one field after the other.
func TestRefusedFieldsBlockNoUser(t *testing.T) {
	const body = `{"id":"u","accountId":"a","locale":"x","email":"x","firstName":"B","customFields":{"locale":1.50}}`
	refuse := func(fields ...string) adapter.Attempt {
		return adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Status: 400,
			RefusedFields: fields}
	}
	for name, test := range map[string]struct {
		answers attempts
		bodies  []string
		want    adapter.Attempt
	}{
		"one": {
			attempts{refuse("locale"), delivered},
			[]string{body, `{"id":"u","accountId":"a","email":"x","firstName":"B","customFields":{"locale":1.50}}`},
			adapter.Attempt{Outcome: adapter.Delivered, Warnings: []mapping.Warning{adapter.WarningFieldRefused}},
		},
		"another then": {
			attempts{refuse("locale"), refuse("email"), delivered},
			[]string{body, `{"id":"u","accountId":"a","email":"x","firstName":"B","customFields":{"locale":1.50}}`,
				`{"id":"u","accountId":"a","firstName":"B","customFields":{"locale":1.50}}`},
			adapter.Attempt{Outcome: adapter.Delivered, Warnings: []mapping.Warning{adapter.WarningFieldRefused}},
		},
		"yet another": {
			attempts{refuse("locale"), refuse("email"), refuse("shareLinks"), refuse("cookies")},
			[]string{body, `{"id":"u","accountId":"a","email":"x","firstName":"B","customFields":{"locale":1.50}}`,
				`{"id":"u","accountId":"a","firstName":"B","customFields":{"locale":1.50}}`,
				`{"id":"u","accountId":"a","customFields":{"locale":1.50}}`},
			adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonRefused,
				Warnings: []mapping.Warning{adapter.WarningFieldRefused}},
		},
		"any": {
			attempts{refuse("locale", "email", "imageUrl"), refused},
			[]string{body, `{"id":"u","accountId":"a","firstName":"B","customFields":{"locale":1.50}}`},
			adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonRefused,
				Warnings: []mapping.Warning{adapter.WarningFieldRefused}},
		},
		"none that there is": {
			attempts{refuse("imageUrl")}, []string{body}, adapter.Attempt{Outcome: adapter.Dead,
				Reason: mapping.ReasonRefused},
		},
		"the same then": {
			attempts{refuse("locale"), refuse("locale")},
			[]string{body, `{"id":"u","accountId":"a","email":"x","firstName":"B","customFields":{"locale":1.50}}`},
			adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonRefused,
				Warnings: []mapping.Warning{adapter.WarningFieldRefused}},
		},
		"busy then": {
			attempts{refuse("locale"), busy},
			[]string{body, `{"id":"u","accountId":"a","email":"x","firstName":"B","customFields":{"locale":1.50}}`},
			adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonServerError,
				Warnings: []mapping.Warning{adapter.WarningFieldRefused}},
		},
	} {
		script := deliverytest.Script(0, nil, test.answers)
		got := NewSender(script, SenderOptions{}).Send(t.Context(), mappedUpserts(body))
		if !slices.Equal(script.Bodies(), test.bodies) {
			t.Errorf("%s: upserts\n%s", name, strings.Join(script.Bodies(), "\n"))
		}
		if got.Outcome != test.want.Outcome || got.Reason != test.want.Reason || !slices.Equal(got.Warnings,
			test.want.Warnings) || got.RefusedFields != nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// TestSenderKeepsItsTime has calls that leave no time for the next.
func TestSenderKeepsItsTime(t *testing.T) {
	for name, test := range map[string]struct {
		takes time.Duration
		made  string
	}{
		"quick":        {3 * time.Second, "track upsert"},
		"slow":         {5 * time.Second, "track"},
		"quick enough": {2499 * time.Millisecond, "track upsert track"},
	} {
		synctest.Test(t, func(t *testing.T) {
			script := deliverytest.Script(test.takes, attempts{unknownUser, delivered}, attempts{delivered})
			c := NewSender(script, SenderOptions{})
			got := c.Send(t.Context(), mappedEvent(mapping.EnsureMissing))
			if made := strings.Join(script.Kinds(), " "); made != test.made {
				t.Errorf("%s: %s", name, made)
			}
			if script.Requests() < 3 && (got.Outcome != adapter.Pending || got.Reason != mapping.ReasonTimeout ||
				!got.Unprocessed) {
				t.Errorf("%s: got %+v", name, got)
			}
		})
	}
}

func TestKnownUsersAreTold(t *testing.T) {
	k := newKnownUsers(2)
	for _, of := range []user{{"a", "bc"}, {"ab", "c"}, {"a\x00", "b"}} {
		if k.has(of.accountID, of.userID) {
			t.Errorf("%v is taken for another", of)
		}
		k.add(of.accountID, of.userID)
		if !k.has(of.accountID, of.userID) {
			t.Errorf("%v is forgotten", of)
		}
	}
	k.remove("ab", "c")
	if k.has("ab", "c") {
		t.Error("a removed user is known")
	}
}
