package delivery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// calls is Client by a script. Each answer is used once, the last one for ever.
type fakeClient struct {
	tracks, upserts []adapter.Attempt
	takes           time.Duration // by each call, on the clock of the test
	made            []string
	bodies          []string // of upserts
}

func (c *fakeClient) next(answers *[]adapter.Attempt) adapter.Attempt {
	time.Sleep(c.takes)
	answer := (*answers)[0]
	if len(*answers) > 1 {
		*answers = (*answers)[1:]
	}
	return answer
}

func (c *fakeClient) Track(_ context.Context, event *mapping.UserEvent) adapter.Attempt {
	c.made = append(c.made, "track")
	return c.next(&c.tracks)
}

func (c *fakeClient) Upsert(_ context.Context, upsert *mapping.UserUpsert) adapter.Attempt {
	c.made = append(c.made, "upsert")
	c.bodies = append(c.bodies, string(upsert.Body))
	return c.next(&c.upserts)
}

var (
	unknownUser = adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonUserNotFound, Status: 404}
	doNotTrack  = adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonDoNotTrack, Status: 400}
)

func mappedEvent(ensure mapping.Ensure) *mapping.Result {
	return &mapping.Result{
		Kind: mapping.KindUserEvent, MessageID: "message-1", Ensure: ensure,
		UserEvent: mapping.UserEvent{UserID: "u", AccountID: "a", Key: "x", IdempotencyKey: "message-1", Body: []byte(`{}`)},
		Upserts:   []mapping.UserUpsert{{UserID: "u", AccountID: "a", Body: []byte(`{"id":"u","accountId":"a","firstName":"B"}`)}},
	}
}

func mappedUpserts(bodies ...string) *mapping.Result {
	mapped := &mapping.Result{Kind: mapping.KindUserUpsert, MessageID: "message-1"}
	for _, body := range bodies {
		mapped.Upserts = append(mapped.Upserts, mapping.UserUpsert{UserID: "u", AccountID: "a", Body: []byte(body)})
	}
	return mapped
}

// TestCourierDecides goes through every course that an attempt at an event can take.
// It compares the courier with the rules as they are written down: in words, here.
func TestCourierDecides(t *testing.T) {
	tracks := map[string]adapter.Attempt{
		"delivered": delivered, "conflict": conflict, "unknown user": unknownUser, "refused": refused, "do not track": doNotTrack,
		"busy": busy, "timeout": timedOut, "wrong key": wrongKey,
	}
	upserts := map[string]adapter.Attempt{
		"delivered": delivered, "refused": refused, "do not track": doNotTrack, "busy": busy, "timeout": timedOut, "wrong key": wrongKey,
	}
	courses := 0
	for _, ensure := range []mapping.Ensure{0, mapping.EnsureNever, mapping.EnsureMissing, mapping.EnsureAlways} {
		for _, before := range []bool{false, true} {
			for _, known := range []bool{false, true} {
				for first := range tracks {
					for upsert := range upserts {
						for second := range tracks {
							name := fmt.Sprintf("ensure %d before %t known %t: %s, %s, %s", ensure, before, known, first, upsert, second)
							script := &fakeClient{tracks: []adapter.Attempt{tracks[first], tracks[second]}, upserts: []adapter.Attempt{upserts[upsert]}}
							c := NewSender(script, SenderOptions{EnsureBefore: before})
							if known {
								c.known.add("a", "u")
							}
							got := c.Send(t.Context(), mappedEvent(ensure))
							made := strings.Join(script.made, " ")
							courses++

							ahead := ensure == mapping.EnsureAlways || ensure == mapping.EnsureMissing && before && !known
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
							if made != wantMade || got.Outcome != decides.Outcome || got.Reason != reason || got.Status != decides.Status || got.Misconfigured != decides.Misconfigured {
								t.Errorf("%s: %s gives %+v, want %s and %v %s", name, made, got, wantMade, decides.Outcome, reason)
							}
							if got.Requests != len(script.made) {
								t.Errorf("%s: %d requests, counted %d", name, len(script.made), got.Requests)
							}
							if last := script.made[len(script.made)-1]; got.Outcome == adapter.Pending && got.Unprocessed != (last == "upsert" || decides.Unprocessed) {
								t.Errorf("%s: %s is unprocessed=%t", name, made, got.Unprocessed)
							}
							wantKnown := known
							for i, call := range script.made {
								answer := upserts[upsert]
								if call == "track" {
									answer = tracks[map[bool]string{true: first, false: second}[!slices.Contains(script.made[:i], "track")]]
								}
								wantKnown = (wantKnown || answer.Outcome == adapter.Delivered) && answer.Reason != mapping.ReasonUserNotFound
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

func TestCourierMakesTheUserOfAnEvent(t *testing.T) {
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
		script := &fakeClient{tracks: []adapter.Attempt{unknownUser, delivered}, upserts: []adapter.Attempt{delivered}}
		if got := NewSender(script, SenderOptions{}).Send(t.Context(), mapped); got.Outcome != adapter.Delivered || script.bodies[0] != test.want {
			t.Errorf("%+v: %s, want %s", got, script.bodies[0], test.want)
		}
	}
}

func TestCourierSendsUpsertsInOrder(t *testing.T) {
	for _, test := range []struct {
		answers []adapter.Attempt
		made    int
		want    adapter.Outcome
	}{
		{[]adapter.Attempt{delivered}, 3, adapter.Delivered},
		{[]adapter.Attempt{delivered, busy, delivered}, 2, adapter.Pending},
		{[]adapter.Attempt{timedOut}, 1, adapter.Pending},
		{[]adapter.Attempt{delivered, delivered, refused}, 3, adapter.Dead},
		{[]adapter.Attempt{doNotTrack}, 1, adapter.Dead},
	} {
		script := &fakeClient{upserts: test.answers}
		c := NewSender(script, SenderOptions{})
		got := c.Send(t.Context(), mappedUpserts(`{"n":0}`, `{"n":1}`, `{"n":2}`))
		if len(script.made) != test.made || got.Outcome != test.want || got.Unprocessed != (test.want == adapter.Pending) {
			t.Errorf("%v: %d calls, %+v", test.answers, len(script.made), got)
		}
		for i, body := range script.bodies {
			if body != fmt.Sprintf(`{"n":%d}`, i) {
				t.Errorf("upsert %d is %s", i, body)
			}
		}
		if c.known.has("a", "u") != (test.answers[0].Outcome == adapter.Delivered) {
			t.Errorf("%v: known=%t", test.answers, c.known.has("a", "u"))
		}
	}
}

// TestRefusedFieldsBlockNobody has SaaSquatch refuse one field after the other.
func TestRefusedFieldsBlockNobody(t *testing.T) {
	const body = `{"id":"u","accountId":"a","locale":"x","email":"x","firstName":"B","customFields":{"locale":1.50}}`
	refuse := func(fields ...string) adapter.Attempt {
		return adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Status: 400, RefusedFields: fields}
	}
	for name, test := range map[string]struct {
		answers []adapter.Attempt
		bodies  []string
		want    adapter.Attempt
	}{
		"one": {
			[]adapter.Attempt{refuse("locale"), delivered},
			[]string{body, `{"id":"u","accountId":"a","email":"x","firstName":"B","customFields":{"locale":1.50}}`},
			adapter.Attempt{Outcome: adapter.Delivered, Warnings: []mapping.Warning{adapter.WarningFieldRefused}},
		},
		"another then": {
			[]adapter.Attempt{refuse("locale"), refuse("email"), delivered},
			[]string{body, `{"id":"u","accountId":"a","email":"x","firstName":"B","customFields":{"locale":1.50}}`, `{"id":"u","accountId":"a","firstName":"B","customFields":{"locale":1.50}}`},
			adapter.Attempt{Outcome: adapter.Delivered, Warnings: []mapping.Warning{adapter.WarningFieldRefused}},
		},
		"yet another": {
			[]adapter.Attempt{refuse("locale"), refuse("email"), refuse("shareLinks"), refuse("cookies")},
			[]string{body, `{"id":"u","accountId":"a","email":"x","firstName":"B","customFields":{"locale":1.50}}`, `{"id":"u","accountId":"a","firstName":"B","customFields":{"locale":1.50}}`, `{"id":"u","accountId":"a","customFields":{"locale":1.50}}`},
			adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Warnings: []mapping.Warning{adapter.WarningFieldRefused}},
		},
		"any": {
			[]adapter.Attempt{refuse("locale", "email", "imageUrl"), refused},
			[]string{body, `{"id":"u","accountId":"a","firstName":"B","customFields":{"locale":1.50}}`},
			adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Warnings: []mapping.Warning{adapter.WarningFieldRefused}},
		},
		"none that there is": {
			[]adapter.Attempt{refuse("imageUrl")}, []string{body}, adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonRefused},
		},
		"the same then": {
			[]adapter.Attempt{refuse("locale"), refuse("locale")},
			[]string{body, `{"id":"u","accountId":"a","email":"x","firstName":"B","customFields":{"locale":1.50}}`},
			adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Warnings: []mapping.Warning{adapter.WarningFieldRefused}},
		},
		"busy then": {
			[]adapter.Attempt{refuse("locale"), busy},
			[]string{body, `{"id":"u","accountId":"a","email":"x","firstName":"B","customFields":{"locale":1.50}}`},
			adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonServerError, Warnings: []mapping.Warning{adapter.WarningFieldRefused}},
		},
	} {
		script := &fakeClient{upserts: test.answers}
		got := NewSender(script, SenderOptions{}).Send(t.Context(), mappedUpserts(body))
		if !slices.Equal(script.bodies, test.bodies) {
			t.Errorf("%s: upserts\n%s", name, strings.Join(script.bodies, "\n"))
		}
		if got.Outcome != test.want.Outcome || got.Reason != test.want.Reason || !slices.Equal(got.Warnings, test.want.Warnings) || got.RefusedFields != nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// TestCourierKeepsItsTime has calls that leave no time for the next.
func TestCourierKeepsItsTime(t *testing.T) {
	for name, test := range map[string]struct {
		takes time.Duration
		made  string
	}{
		"quick":        {3 * time.Second, "track upsert"},
		"slow":         {5 * time.Second, "track"},
		"quick enough": {2499 * time.Millisecond, "track upsert track"},
	} {
		synctest.Test(t, func(t *testing.T) {
			script := &fakeClient{tracks: []adapter.Attempt{unknownUser, delivered}, upserts: []adapter.Attempt{delivered}, takes: test.takes}
			c := NewSender(script, SenderOptions{})
			got := c.Send(t.Context(), mappedEvent(mapping.EnsureMissing))
			if made := strings.Join(script.made, " "); made != test.made {
				t.Errorf("%s: %s", name, made)
			}
			if len(script.made) < 3 && (got.Outcome != adapter.Pending || got.Reason != mapping.ReasonTimeout || !got.Unprocessed) {
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
