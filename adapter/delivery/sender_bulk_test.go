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
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

var unclear = adapter.Attempt{
	Outcome: adapter.Pending, Reason: mapping.ReasonBulkUnclear, Status: 200, Alone: true,
}

// bulkOf returns events of users, each with the same Ensure.
func bulkOf(ensure mapping.Ensure, users ...string) (list []*mapping.Result) {
	for _, id := range users {
		mapped := mappedEvent(ensure)
		mapped.UserEvent.UserID, mapped.UserEvent.IdempotencyKey = id, "key-"+id
		mapped.Upserts = []mapping.UserUpsert{{UserID: id, AccountID: "a", Body: fmt.Appendf(nil, `{"id":%q}`, id)}}
		list = append(list, mapped)
	}
	return list
}

// madeBy returns the calls, such as "upsert u, track u v".
func madeBy(script *deliverytest.Sender) string {
	var calls []string
	for _, items := range script.Bulks() {
		call := items[0].Kind
		for _, item := range items {
			call += " " + item.UserID
		}
		calls = append(calls, call)
	}
	return strings.Join(calls, ", ")
}

// TestBulkSenderDecides goes through every course that an event can take beside another one that is
// simply delivered.
func TestBulkSenderDecides(t *testing.T) {
	tracks := map[string]adapter.Attempt{
		"delivered": delivered, "conflict": conflict, "unknown user": unknownUser, "refused": refused,
		"do not track": doNotTrack, "busy": busy, "timeout": timedOut, "wrong key": wrongKey, "unclear": unclear,
	}
	upserts := map[string]adapter.Attempt{
		"delivered": delivered, "refused": refused, "do not track": doNotTrack, "busy": busy, "timeout": timedOut,
		"wrong key": wrongKey, "unclear": unclear,
	}
	courses := 0
	for _, ensure := range []mapping.Ensure{0, mapping.EnsureNever, mapping.EnsureMissing, mapping.EnsureAlways} {
		for _, before := range []bool{false, true} {
			for _, known := range []bool{false, true} {
				for track := range tracks {
					for upsert := range upserts {
						name := fmt.Sprintf("ensure %d before %t known %t: %s, %s", ensure, before, known, track,
							upsert)
						script := new(deliverytest.Sender)
						script.Answer = func(_ context.Context, call *deliverytest.Call) adapter.Attempt {
							switch {
							case call.UserID == "v":
								return delivered
							case call.Kind == "upsert":
								return upserts[upsert]
							}
							return tracks[track]
						}
						c := NewSender(script, SenderOptions{EnsureBefore: before})
						if known {
							c.known.add("a", "u")
						}
						mapped := append(bulkOf(ensure, "u"), bulkOf(mapping.EnsureNever, "v")...)
						if !c.Bulkable(mapped[0]) || !c.Bulkable(mapped[1]) {
							t.Fatalf("%s: not bulkable", name)
						}
						bulk := c.SendBulk(t.Context(), mapped)
						courses++

						want, made, wantKnown := tracks[track], "track u v", known
						ahead := ensure == mapping.EnsureAlways || ensure == mapping.EnsureMissing && before && !known
						stays := upserts[upsert].Outcome == adapter.Pending || upsert == "do not track"
						switch {
						case ahead && stays:
							want, made = upserts[upsert], "upsert u, track v"
							want.Unprocessed = want.Outcome == adapter.Pending
						case ahead:
							made = "upsert u, track u v"
							wantKnown = wantKnown || upsert == "delivered"
						}
						if strings.Contains(made, "track u") {
							wantKnown = (wantKnown || track == "delivered") && track != "unknown user"
							if track == "unknown user" && ensure == mapping.EnsureMissing {
								want.Outcome, want.Unprocessed, want.Alone = adapter.Pending, true, true
							}
						}
						got := bulk.Items[0]
						if got.Outcome != want.Outcome || got.Reason != want.Reason || got.Status != want.Status ||
							got.Unprocessed != want.Unprocessed || got.Alone != want.Alone ||
							got.Misconfigured != want.Misconfigured {
							t.Errorf("%s: got %+v, want %+v", name, got, want)
						}
						if madeBy(script) != made || got.Requests != len(script.Bulks()) {
							t.Errorf("%s: made %s, want %s; counted %d", name, madeBy(script), made, got.Requests)
						}
						if bulk.Items[1].Outcome != adapter.Delivered || bulk.Call.Outcome != adapter.Delivered {
							t.Errorf("%s: the other is %+v, the call %+v", name, bulk.Items[1], bulk.Call)
						}
						if c.known.has("a", "u") != wantKnown {
							t.Errorf("%s: the user is known=%t", name, !wantKnown)
						}
						warned := slices.Contains(got.Warnings, adapter.WarningUpsertRefused)
						if warned != (ahead && upsert == "refused") || len(bulk.Items[1].Warnings) != 0 {
							t.Errorf("%s: warnings %v and %v", name, got.Warnings, bulk.Items[1].Warnings)
						}
					}
				}
			}
		}
	}
	if want := 4 * 2 * 2 * 9 * 7; courses != want {
		t.Errorf("%d courses, want %d", courses, want)
	}
}

// TestBulkUpserts makes upserts of identify calls.
func TestBulkUpserts(t *testing.T) {
	answers := map[string]adapter.Attempt{
		"u": delivered, "v": refused, "w": busy, "x": unclear,
		"y": {Outcome: adapter.Pending, Reason: mapping.ReasonBulkUnclear, Alone: true,
			RefusedFields: []string{"locale"}},
	}
	script := &deliverytest.Sender{Answer: func(_ context.Context, c *deliverytest.Call) adapter.Attempt {
		return answers[c.UserID]
	}}
	c := NewSender(script, SenderOptions{})
	users := []string{"u", "v", "w", "x", "y"}
	var mapped []*mapping.Result
	for _, id := range users {
		one := mappedUpserts(fmt.Sprintf(`{"id":%q}`, id))
		one.Upserts[0].UserID = id
		if mapped = append(mapped, one); !c.Bulkable(one) {
			t.Errorf("%s is not bulkable", id)
		}
	}
	bulk := c.SendBulk(t.Context(), mapped)
	for i, id := range users {
		got, want := bulk.Items[i], answers[id]
		if got.Outcome != want.Outcome || got.Reason != want.Reason || got.Alone != want.Alone ||
			got.Unprocessed != (want.Outcome == adapter.Pending) || got.RefusedFields != nil {
			t.Errorf("%s: got %+v", id, got)
		}
		if c.known.has("a", id) != (id == "u") {
			t.Errorf("%s is known=%t", id, id != "u")
		}
	}
	if madeBy(script) != "upsert u v w x y" {
		t.Error(madeBy(script))
	}
}

// TestNotBulkable has results that need calls of their own.
func TestNotBulkable(t *testing.T) {
	script := deliverytest.Always(delivered)
	script.Single = func(upsert *mapping.UserUpsert) bool { return strings.Contains(string(upsert.Body), "single") }
	for name, test := range map[string]struct {
		mapped *mapping.Result
		before bool
		want   bool
	}{
		"event":                     {mappedEvent(mapping.EnsureMissing), false, true},
		"event, upsert first":       {mappedEvent(mapping.EnsureMissing), true, true},
		"upsert":                    {mappedUpserts(`{}`), false, true},
		"upsert of its own":         {mappedUpserts(`{"single":1}`), false, false},
		"several parts":             {mappedUpserts(`{}`, `{}`), false, false},
		"unkeyed":                   {withoutKey(mappedEvent(mapping.EnsureNever)), false, false},
		"single upsert first":       {withSingleUpsert(mappedEvent(mapping.EnsureMissing)), true, false},
		"single upsert always":      {withSingleUpsert(mappedEvent(mapping.EnsureAlways)), false, false},
		"single upsert when needed": {withSingleUpsert(mappedEvent(mapping.EnsureMissing)), false, true},
		"single upsert never":       {withSingleUpsert(mappedEvent(mapping.EnsureNever)), true, true},
	} {
		c := NewSender(script, SenderOptions{EnsureBefore: test.before})
		if got := c.Bulkable(test.mapped); got != test.want {
			t.Errorf("%s: bulkable=%t", name, got)
		}
	}
	t.Run("no longer known", func(t *testing.T) {
		c := NewSender(script, SenderOptions{EnsureBefore: true})
		c.known.add("a", "u")
		mapped := withSingleUpsert(mappedEvent(mapping.EnsureMissing))
		if !c.Bulkable(mapped) {
			t.Error("not bulkable")
		}
		c.known.remove("a", "u")
		bulk := c.SendBulk(t.Context(), append(bulkOf(mapping.EnsureNever, "v"), mapped))
		if got := bulk.Items[1]; got.Outcome != adapter.Pending || !got.Alone || !got.Unprocessed ||
			bulk.Items[0].Outcome != adapter.Delivered || madeBy(script) != "track v" {
			t.Errorf("%s: got %+v", madeBy(script), bulk)
		}
	})
}

func withoutKey(mapped *mapping.Result) *mapping.Result {
	mapped.UserEvent.IdempotencyKey = ""
	return mapped
}

func withSingleUpsert(mapped *mapping.Result) *mapping.Result {
	mapped.Upserts[0].Body = []byte(`{"single":1}`)
	return mapped
}

// TestSendBulkKeepsItsTime has calls that leave no time for the next.
func TestSendBulkKeepsItsTime(t *testing.T) {
	tooLarge := unclear
	tooLarge.Unprocessed = true
	for name, test := range map[string]struct {
		takes  time.Duration
		ensure mapping.Ensure
		large  bool // SaaSquatch refuses the call for both events
		made   string
		alone  bool // the second event
	}{
		"quick": {2 * time.Second, mapping.EnsureAlways, false, "upsert u v, track w u v", false},
		"slow":  {5 * time.Second, mapping.EnsureAlways, false, "upsert u v", false},
		"quick, divided": {2 * time.Second, mapping.EnsureNever, true, "track w u v, track w u, track v",
			false},
		"divided late":          {5 * time.Second, mapping.EnsureNever, true, "track w u v", true},
		"divided late, one out": {3 * time.Second, mapping.EnsureNever, true, "track w u v, track w u", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			script := &deliverytest.Sender{Answer: func(context.Context, *deliverytest.Call) adapter.Attempt {
				time.Sleep(test.takes)
				return delivered
			}}
			script.Bulk = func(items []*deliverytest.Call) *adapter.BulkAttempt {
				if !test.large || len(items) < 3 {
					return nil
				}
				time.Sleep(test.takes)
				bulk := deliverytest.Whole(items, tooLarge)
				bulk.Divisible = true
				return bulk
			}
			c := NewSender(script, SenderOptions{})
			events := append(bulkOf(mapping.EnsureNever, "w"), bulkOf(test.ensure, "u", "v")...)
			bulk := c.SendBulk(t.Context(), events)
			if madeBy(script) != test.made {
				t.Errorf("%s: %s", name, madeBy(script))
			}
			last := bulk.Items[2]
			all := strings.HasSuffix(test.made, "track v") || !test.large && strings.HasSuffix(test.made, "w u v")
			if all {
				if last.Outcome != adapter.Delivered {
					t.Errorf("%s: got %+v", name, last)
				}
			} else if last.Outcome != adapter.Pending || !last.Unprocessed || last.Alone != test.alone {
				t.Errorf("%s: got %+v", name, last)
			}
			if test.takes == 5*time.Second && !test.large && bulk.Items[0].Reason != mapping.ReasonTimeout {
				t.Errorf("%s: the event without an upsert is %+v", name, bulk.Items[0])
			}
			passed := strings.HasSuffix(test.made, "track w u, track v")
			if size := c.BulkSize(); passed != (size < adapter.MaxBulk) {
				t.Errorf("%s: calls of %d", name, size)
			}
		})
	}
}
