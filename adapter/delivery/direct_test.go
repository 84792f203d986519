package delivery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

var (
	delivered = adapter.Attempt{Outcome: adapter.Delivered, Status: 200}
	conflict  = adapter.Attempt{Outcome: adapter.Duplicate, Reason: mapping.ReasonConflict, Status: 409}
	busy      = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonServerError, Status: 503}
	refused   = adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Status: 400}
	wrongKey  = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonUnauthorized, Status: 401,
		Misconfigured: true}
)

func newDirect(t *testing.T, sender adapter.Sender, opts BreakerOptions, record func(adapter.Result)) *Direct {
	t.Helper()
	rules := mapping.DefaultRules()
	rules.AnyAge = true
	mapper, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	opts.ForeignRest = -1
	return NewDirect(mapper, NewRetrier(sender, NewBreaker(opts), RetrierOptions{Random: opts.Random}),
		DirectOptions{Record: record})
}

func track(user, event, messageID string) []byte {
	return fmt.Appendf(nil, `{"type":"track","userId":%q,"event":%q,"messageId":%q}`, user, event, messageID)
}

func accept(t *testing.T, d *Direct, events ...[]byte) adapter.Receipt {
	t.Helper()
	receipt, err := d.Accept(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	if len(receipt.Results) != len(events) {
		t.Fatalf("%d results for %d events", len(receipt.Results), len(events))
	}
	for i, result := range receipt.Results {
		if result.Index != i {
			t.Fatalf("result %d has index %d", i, result.Index)
		}
	}
	return receipt
}

func TestDirectReportsEveryOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.NewNumberedSender(func(event *mapping.UserEvent, _ int) adapter.Attempt {
			switch event.Key {
			case "again":
				return conflict
			case "bad":
				return refused
			}
			return delivered
		})
		var (
			mu       sync.Mutex
			recorded = make(map[int]adapter.Outcome)
		)
		d := newDirect(t, sender, BreakerOptions{}, func(r adapter.Result) {
			mu.Lock()
			defer mu.Unlock()
			if recorded[r.Index] != 0 {
				t.Errorf("event %d is recorded twice", r.Index)
			}
			recorded[r.Index] = r.Outcome
		})
		receipt := accept(t, d, track("u", "fine", "00000001"), track("u", "again", "00000002"),
			track("v", "bad", "00000003"),
			[]byte(`{"type":"page"}`), []byte(`null`))
		want := []adapter.Outcome{adapter.Delivered, adapter.Duplicate, adapter.Dead, adapter.Skipped,
			adapter.Rejected}
		for i, result := range receipt.Results {
			if result.Outcome != want[i] {
				t.Errorf("event %d: %v %s, want %v", i, result.Outcome, result.Reason, want[i])
			}
		}
		if receipt.Redeliver {
			t.Error("asks to send settled events again")
		}
		for i := range want {
			if recorded[i] != want[i] {
				t.Errorf("event %d is recorded as %v", i, recorded[i])
			}
		}
		if r := receipt.Results[0]; r.IdempotencyKey != "00000001" || r.EventKey != "fine" || r.Attempts != 1 ||
			r.Status != 200 {
			t.Errorf("result %+v", r)
		}
	})
}

func TestDirectRetriesWithinItsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.NewNumberedSender(func(_ *mapping.UserEvent, attempt int) adapter.Attempt {
			if attempt < 4 {
				return busy
			}
			return delivered
		})
		d := newDirect(t, sender, BreakerOptions{}, nil)
		receipt := accept(t, d, track("u", "e", "00000001"))
		if r := receipt.Results[0]; r.Outcome != adapter.Delivered || r.Attempts != 4 || receipt.Redeliver {
			t.Errorf("got %+v", r)
		}
	})
}

func TestDirectGivesUpWithItsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.Always(busy)
		d := newDirect(t, sender, BreakerOptions{}, nil)
		started := time.Now()
		receipt := accept(t, d, track("u", "first", "00000001"), track("u", "second", "00000002"))
		if took := time.Since(started); took > DefaultBudget {
			t.Errorf("took %v", took)
		}
		first, second := receipt.Results[0], receipt.Results[1]
		if !receipt.Redeliver || first.Outcome != adapter.Pending || first.Reason != mapping.ReasonServerError ||
			first.Attempts < 2 || first.Status != 503 {
			t.Errorf("got %+v", first)
		}
		if second.Outcome != adapter.Pending || second.Attempts != 0 {
			t.Errorf("the user's second event overtook the first: %+v", second)
		}
	})
}

// TestDirectLeavesAnAttemptRunning checks that the answer does not wait for an
// attempt longer than the budget, and that its outcome is recorded all the same.
func TestDirectLeavesAnAttemptRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.NewNumberedSender(func(*mapping.UserEvent, int) adapter.Attempt {
			time.Sleep(9 * time.Second) // on the fake clock
			return delivered
		})
		var (
			mu       sync.Mutex
			recorded []adapter.Result
		)
		d := newDirect(t, sender, BreakerOptions{}, func(r adapter.Result) {
			mu.Lock()
			defer mu.Unlock()
			recorded = append(recorded, r)
		})
		soFar := func() []adapter.Result {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(recorded)
		}
		started := time.Now()
		receipt := accept(t, d, track("u", "e", "no key!"), track("u", "after", "00000002"))
		if took := time.Since(started); took != DefaultBudget || !receipt.Redeliver {
			t.Errorf("answered after %v, %+v", took, receipt)
		}
		if got := soFar(); len(got) != 2 || got[0].Outcome != adapter.Pending ||
			got[0].Reason != mapping.ReasonBudgetExceeded {
			t.Fatalf("recorded %+v", got)
		}
		if err := d.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := soFar(); len(got) != 3 || got[2].Outcome != adapter.Delivered || sender.Requests() != 1 {
			t.Fatalf("recorded %+v, sent %v", got, sender.Sent())
		}
		// Segment sends both again; the first has no key but is not sent twice.
		sender.Answer = deliverytest.Always(delivered).Answer
		receipt = accept(t, d, track("u", "e", "no key!"), track("u", "after", "00000002"))
		if r := receipt.Results[0]; r.Outcome != adapter.Duplicate || r.Reason != mapping.ReasonRecentlyDelivered ||
			receipt.Redeliver {
			t.Errorf("got %+v", r)
		}
		if want := []string{"u/e", "u/after"}; !slices.Equal(sender.Sent(), want) {
			t.Errorf("sent %v, want %v", sender.Sent(), want)
		}
	})
}

func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		sender := deliverytest.NewNumberedSender(func(*mapping.UserEvent, int) adapter.Attempt {
			<-release
			return delivered
		})
		d := newDirect(t, sender, BreakerOptions{}, nil)
		accept(t, d, track("u", "e", "00000001"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Stop(ctx); err == nil {
			t.Error("Stop did not say that an attempt is in flight")
		}
		close(release)
		if err := d.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCallerThatGoesAwayStopsNewAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		sender := deliverytest.NewSender(func(*mapping.UserEvent) adapter.Attempt {
			cancel()
			return delivered
		})
		d := newDirect(t, sender, BreakerOptions{Ceiling: 1}, nil)
		receipt, err := d.Accept(ctx, [][]byte{track("u", "e", "00000001"), track("v", "e", "00000002")})
		if err != nil || !receipt.Redeliver || sender.Requests() != 1 {
			t.Errorf("%v, sent %v, %v", receipt, sender.Sent(), err)
		}
		synctest.Wait()
	})
}

func TestOneUsersEventsKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.NewNumberedSender(func(_ *mapping.UserEvent, attempt int) adapter.Attempt {
			if attempt == 1 {
				return busy
			}
			return delivered
		})
		d := newDirect(t, sender, BreakerOptions{}, nil)
		var events [][]byte
		for i := range 6 {
			events = append(events, track("u", fmt.Sprint("e", i), fmt.Sprintf("%08d", i)))
		}
		if accept(t, d, events...).Redeliver {
			t.Error("not all delivered")
		}
		if want := []string{"u/e0", "u/e0", "u/e1", "u/e1", "u/e2", "u/e2", "u/e3", "u/e3", "u/e4", "u/e4", "u/e5",
			"u/e5"}; !slices.Equal(sender.Sent(), want) {
			t.Errorf("sent %v", sender.Sent())
		}
	})
}

func TestDeadEventDoesNotHoldUpTheUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.NewNumberedSender(func(event *mapping.UserEvent, _ int) adapter.Attempt {
			if event.Key == "bad" {
				return refused
			}
			return delivered
		})
		d := newDirect(t, sender, BreakerOptions{}, nil)
		receipt := accept(t, d, track("u", "bad", "00000001"), track("u", "good", "00000002"))
		if receipt.Results[0].Outcome != adapter.Dead || receipt.Results[1].Outcome != adapter.Delivered {
			t.Errorf("got %+v", receipt.Results)
		}
	})
}

func TestConcurrencyIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.NewNumberedSender(func(*mapping.UserEvent, int) adapter.Attempt {
			time.Sleep(100 * time.Millisecond)
			return delivered
		})
		d := newDirect(t, sender, BreakerOptions{Ceiling: 5}, nil)
		var events [][]byte
		for i := range 50 {
			events = append(events, track(fmt.Sprint("u", i), "e", fmt.Sprintf("%08d", i)))
		}
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() { accept(t, d, events[:25]...) })
			both.Go(func() { accept(t, d, events[25:]...) })
		}
		both.Wait()
		if sender.MostInFlight() != 5 {
			t.Errorf("%d requests in flight at once, want 5", sender.MostInFlight())
		}
	})
}

func TestRateLimitSpacesRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.Always(delivered)
		d := newDirect(t, sender, BreakerOptions{RateLimit: 10}, nil)
		var events [][]byte
		for i := range 11 {
			events = append(events, track(fmt.Sprint("u", i), "e", fmt.Sprintf("%08d", i)))
		}
		started := time.Now()
		if accept(t, d, events...).Redeliver {
			t.Error("not all delivered")
		}
		if took := time.Since(started); took != time.Second {
			t.Errorf("11 requests at 10/s took %v", took)
		}
	})
}

func TestWrongConfigurationEndsTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.Always(wrongKey)
		d := newDirect(t, sender, BreakerOptions{Ceiling: 2}, nil)
		receipt := accept(t, d, ofUsers(100)...)
		// The second request in flight may see its answer after the third refusal.
		if got := sender.Requests(); got < 3 || got > 4 || !receipt.Redeliver {
			t.Errorf("%d requests with a wrong key", got)
		}
		for _, result := range receipt.Results {
			if result.Outcome != adapter.Pending || result.Reason != mapping.ReasonUnauthorized {
				t.Fatalf("got %+v", result)
			}
		}
	})
}

// TestSomeRefusalsDoNotEndTheRequest checks that refusals of single events do not
// keep others from being sent.
func TestSomeRefusalsDoNotEndTheRequest(t *testing.T) {
	for name, refused := range map[string]func(user int) bool{
		"the first two": func(user int) bool { return user < 2 },
		"two of three":  func(user int) bool { return user%3 > 0 },
	} {
		synctest.Test(t, func(t *testing.T) {
			sender := deliverytest.NewNumberedSender(func(event *mapping.UserEvent, _ int) adapter.Attempt {
				var user int
				if _, err := fmt.Sscanf(event.UserID, "u%d", &user); err != nil {
					t.Error(err)
				}
				if refused(user) {
					return wrongKey
				}
				return delivered
			})
			d := newDirect(t, sender, BreakerOptions{Ceiling: 1}, nil)
			for i, result := range accept(t, d, ofUsers(10)...).Results {
				if want := map[bool]adapter.Outcome{true: adapter.Pending,
					false: adapter.Delivered}[refused(i)]; result.Outcome != want || result.Attempts != 1 {
					t.Errorf("%s, user %d: got %+v", name, i, result)
				}
			}
		})
	}
}

// ofUsers returns an event of each of n users.
func ofUsers(n int) [][]byte {
	events := make([][]byte, n)
	for i := range events {
		events[i] = track(fmt.Sprint("u", i), "e", fmt.Sprintf("%08d", i))
	}
	return events
}

// TestRedeliveryWaitsForTheAttemptInFlight sends events again whose first attempt
// outlives the answer.
func TestRedeliveryWaitsForTheAttemptInFlight(t *testing.T) {
	for name, test := range map[string]struct {
		first  adapter.Attempt // what the first attempt comes to, 9 s after it began
		after  time.Duration
		want   adapter.Result // of the redelivery
		sent   int
		waited time.Duration
	}{
		"delivered": {delivered, 2 * time.Second, adapter.Result{Outcome: adapter.Duplicate,
			Reason: mapping.ReasonRecentlyDelivered}, 1, 3 * time.Second},
		"duplicate": {conflict, 2 * time.Second, adapter.Result{Outcome: adapter.Duplicate,
			Reason: mapping.ReasonRecentlyDelivered}, 1, 3 * time.Second},
		"failed": {busy, 2 * time.Second, adapter.Result{Outcome: adapter.Delivered, Status: 200, Attempts: 1}, 2,
			3 * time.Second},
		"takes long": {delivered, 0, adapter.Result{Outcome: adapter.Pending, Reason: mapping.ReasonBudgetExceeded},
			1, DefaultBudget},
		"has ended": {delivered, 6 * time.Second, adapter.Result{Outcome: adapter.Duplicate,
			Reason: mapping.ReasonRecentlyDelivered}, 1, 0},
		"had to fail": {busy, 6 * time.Second, adapter.Result{Outcome: adapter.Delivered, Status: 200, Attempts: 1}, 2,
			0},
	} {
		for _, messageID := range []string{"no key!", "valid-key"} {
			synctest.Test(t, func(t *testing.T) {
				sender := deliverytest.NewNumberedSender(func(_ *mapping.UserEvent, attempt int) adapter.Attempt {
					if attempt > 1 {
						return delivered
					}
					time.Sleep(9 * time.Second)
					return test.first
				})
				d := newDirect(t, sender, BreakerOptions{}, nil)
				accept(t, d, track("u", "e", messageID)) // takes 4 s
				time.Sleep(test.after)
				started := time.Now()
				again := accept(t, d, track("u", "e", messageID))
				r := again.Results[0]
				if r.Outcome != test.want.Outcome || r.Reason != test.want.Reason || r.Status != test.want.Status ||
					r.Attempts != test.want.Attempts {
					t.Errorf("%s %s: got %+v", name, messageID, r)
				}
				if waited := time.Since(started); waited != test.waited ||
					again.Redeliver != (r.Outcome == adapter.Pending) {
					t.Errorf("%s %s: answered after %v, redeliver=%t", name, messageID, waited, again.Redeliver)
				}
				if err := d.Stop(t.Context()); err != nil {
					t.Error(err)
				}
				if sender.Requests() != test.sent || sender.MostInFlight() != 1 {
					t.Errorf("%s %s: sent %d times, %d at once", name, messageID, sender.Requests(),
						sender.MostInFlight())
				}
				if n := len(d.retrier.cache.inFlight.ended); n != 0 {
					t.Errorf("%s %s: %d attempts are taken to be in flight", name, messageID, n)
				}
			})
		}
	}
}

// TestManyAtOnceSendOnce sends one event in many requests at once.
func TestManyAtOnceSendOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.NewNumberedSender(func(*mapping.UserEvent, int) adapter.Attempt {
			time.Sleep(100 * time.Millisecond)
			return delivered
		})
		d := newDirect(t, sender, BreakerOptions{}, nil)
		var requests sync.WaitGroup
		for range 50 {
			requests.Go(func() {
				if accept(t, d, track("u", "e", "no key!")).Redeliver {
					t.Error("not settled")
				}
			})
		}
		requests.Wait()
		if sender.Requests() != 1 {
			t.Errorf("sent %d times", sender.Requests())
		}
		accept(t, d, track("u", "e", ""), track("u", "e", ""))
		if sender.Requests() != 3 {
			t.Errorf("events without a messageId: sent %d times", sender.Requests()-1)
		}
	})
}

// panicMapper panics on the events of one user.
type panicMapper struct {
	Mapper
	user string
}

func (m panicMapper) MapWith(event []byte, now time.Time, opts mapping.Options) mapping.Result {
	result := m.Mapper.MapWith(event, now, opts)
	if result.UserEvent.UserID == m.user {
		panic("secret of the mapping")
	}
	return result
}

// TestPanicsCostOneEvent brings about a panic in mapping, sending and recording an
// event among many.
func TestPanicsCostOneEvent(t *testing.T) {
	for where, wantPending := range map[string]bool{"map": true, "send": true, "record": false} {
		synctest.Test(t, func(t *testing.T) {
			const victim = "u70"
			sender := deliverytest.NewNumberedSender(func(event *mapping.UserEvent, _ int) adapter.Attempt {
				if where == "send" && event.UserID == victim {
					panic("secret of the sender")
				}
				return delivered
			})
			var (
				mu     sync.Mutex
				causes []string
				traces []byte
			)
			d := newDirect(t, sender, BreakerOptions{Ceiling: 2}, nil)
			d = NewDirect(panicMapper{d.mapper, map[bool]string{true: victim}[where == "map"]}, d.retrier,
				DirectOptions{
					Record: func(r adapter.Result) {
						if where == "record" && r.Index == 70 {
							panic("secret of the record")
						}
					},
					OnPanic: func(cause any, stack []byte) {
						mu.Lock()
						defer mu.Unlock()
						causes, traces = append(causes, fmt.Sprint(cause)), stack
					},
				})
			for range 2 {
				causes = nil
				started := time.Now()
				receipt := accept(t, d, ofUsers(100)...)
				for i, r := range receipt.Results {
					switch pending := wantPending && i == 70; {
					case pending && (r.Outcome != adapter.Pending || r.Reason != mapping.ReasonInternalError ||
						strings.Contains(r.Detail, "secret")):
						t.Errorf("%s: got %+v", where, r)
					case !pending && r.Outcome != adapter.Delivered && r.Outcome != adapter.Duplicate:
						t.Errorf("%s: another event has %+v", where, r)
					}
				}
				if receipt.Redeliver != wantPending || time.Since(started) != 0 {
					t.Errorf("%s: redeliver=%t after %v", where, receipt.Redeliver, time.Since(started))
				}
				mu.Lock()
				if len(causes) != 1 || !strings.HasPrefix(causes[0], "secret of the ") ||
					!strings.Contains(string(traces), "direct_test.go") {
					t.Errorf("%s: told of %q with %d bytes of stack", where, causes, len(traces))
				}
				mu.Unlock()
			}
			if err := d.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPanicInSendingIsAFailure checks that a 409 behind a panic of the sender is
// told from an ordinary one, and that OnPanic may be nil.
func TestPanicInSendingIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.NewNumberedSender(func(_ *mapping.UserEvent, attempt int) adapter.Attempt {
			if attempt == 1 {
				panic("after the event was sent")
			}
			return conflict
		})
		d := newDirect(t, sender, BreakerOptions{Ceiling: 1}, nil)
		if r := accept(t, d, track("u", "e", "00000001"), track("u", "after",
			"00000002")); r.Results[1].Attempts != 0 || !r.Redeliver {
			t.Errorf("an event overtook the one that panicked: %+v", r)
		}
		if r := accept(t, d, track("u", "e", "00000001")).Results[0]; r.Reason != mapping.ReasonConflictAfterFailure {
			t.Errorf("got %+v", r)
		}
	})
}

// TestConflictAfterFailure checks that a 409 behind a failed attempt of ours is
// told from an ordinary one, within a request and across two.
func TestConflictAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.NewNumberedSender(func(event *mapping.UserEvent, attempt int) adapter.Attempt {
			if event.Key == "e" && attempt == 1 {
				return busy
			}
			return conflict
		})
		d := newDirect(t, sender, BreakerOptions{}, nil)
		if r := accept(t, d, track("u", "e", "00000001")).Results[0]; r.Outcome != adapter.Duplicate ||
			r.Reason != mapping.ReasonConflictAfterFailure {
			t.Errorf("got %+v", r)
		}
		if r := accept(t, d, track("u", "changed", "00000001")).Results[0]; r.Outcome != adapter.Duplicate ||
			r.Reason != mapping.ReasonConflict {
			t.Errorf("the next 409 is an ordinary one, got %+v", r)
		}

		down := true
		sender = deliverytest.NewNumberedSender(func(*mapping.UserEvent, int) adapter.Attempt {
			if down {
				return busy
			}
			return conflict
		})
		d = newDirect(t, sender, BreakerOptions{}, nil)
		if !accept(t, d, track("u", "e", "00000001")).Redeliver {
			t.Error("settled while SaaSquatch was down")
		}
		down = false
		if r := accept(t, d, track("u", "e", "00000001")).Results[0]; r.Outcome != adapter.Duplicate ||
			r.Reason != mapping.ReasonConflictAfterFailure {
			t.Errorf("got %+v", r)
		}
	})
}

// TestConflictAfterRefusal checks that a 409 behind a refusal of the same key is
// told from an ordinary one: the refused attempt may have used up the key.
func TestConflictAfterRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.NewNumberedSender(func(_ *mapping.UserEvent, attempt int) adapter.Attempt {
			if attempt == 1 {
				return refused
			}
			return conflict
		})
		d := newDirect(t, sender, BreakerOptions{}, nil)
		accept(t, d, track("u", "e", "00000001"))
		if r := accept(t, d, track("u", "e", "00000001")).Results[0]; r.Reason != mapping.ReasonConflictAfterFailure {
			t.Errorf("got %+v", r)
		}
	})
}

// TestRedelivery checks which events are taken for a redelivery.
func TestRedelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.Always(delivered)
		d := newDirect(t, sender, BreakerOptions{}, nil)
		accept(t, d, track("u", "e", "short"), track("u", "e", "valid-key"))
		for _, test := range []struct {
			name  string
			event []byte
			want  adapter.Outcome
		}{
			{"the same again", track("u", "e", "short"), adapter.Duplicate},
			{"the same with a key", track("u", "e", "valid-key"), adapter.Duplicate},
			{"the same key on another event", track("u", "f", "valid-key"), adapter.Delivered},
			{"the same messageId on another event", track("u", "f", "short"), adapter.Delivered},
			{"no messageId", []byte(`{"type":"track","userId":"u","event":"e"}`), adapter.Delivered},
			{"no messageId again", []byte(`{"type":"track","userId":"u","event":"e"}`), adapter.Delivered},
		} {
			if r := accept(t, d, test.event).Results[0]; r.Outcome != test.want {
				t.Errorf("%s: %v, want %v", test.name, r.Outcome, test.want)
			}
		}
	})
}

// TestRedeliveryOfAnEventWithoutAKey has the mapping make something else of each
// redelivery: it is known by its envelope.
func TestRedeliveryOfAnEventWithoutAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := mapping.DefaultRules()
		rules.AnyAge, rules.Transform = true, `$merge([$, {"fields": {"sent_at": $string($now())}}])`
		mapper, err := mapping.New(rules)
		if err != nil {
			t.Fatal(err)
		}
		bodies := make(map[string]bool)
		sender := deliverytest.NewNumberedSender(func(event *mapping.UserEvent, _ int) adapter.Attempt {
			if event.IdempotencyKey != "" {
				t.Errorf("sent with the key %s", event.IdempotencyKey)
			}
			bodies[string(event.Body)] = true
			return delivered
		})
		d := NewDirect(mapper, NewRetrier(sender, NewBreaker(BreakerOptions{}), RetrierOptions{}), DirectOptions{})
		number := []byte(`{"type":"track","userId":"u","event":"e","messageId":12345678}`)
		other := []byte(`{"type":"track","userId":"u","event":"e","messageId":12345679}`)
		for _, test := range []struct {
			name  string
			event []byte
			want  adapter.Outcome
		}{
			{"a short messageId", track("u", "e", "short"), adapter.Delivered},
			{"the same again", track("u", "e", "short"), adapter.Duplicate},
			{"a number", number, adapter.Delivered},
			{"the same number again", number, adapter.Duplicate},
			{"another number", other, adapter.Delivered},
			{"another user", track("v", "e", "short"), adapter.Delivered},
		} {
			if r := accept(t, d, test.event).Results[0]; r.Outcome != test.want {
				t.Errorf("%s: %v, want %v", test.name, r.Outcome, test.want)
			}
			time.Sleep(time.Second)
		}
		if len(bodies) != 4 {
			t.Errorf("%d different bodies were sent", len(bodies))
		}
	})
}

// TestDirectAnswersAtOnceWhilePaused has the tenant be paused for longer than an answer may take:
// neither a later request nor the waiting events of an earlier one use up their budget, and each
// result says why.
func TestDirectAnswersAtOnceWhilePaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := wrongKey
		sender := deliverytest.NewNumberedSender(func(*mapping.UserEvent, int) adapter.Attempt {
			time.Sleep(100 * time.Millisecond)
			return fault
		})
		d := newDirect(t, sender, BreakerOptions{Random: func() float64 { return 0.5 }}, nil)
		for range 2 {
			began := time.Now()
			receipt := accept(t, d, ofUsers(100)...)
			if took := time.Since(began); took > 200*time.Millisecond || !receipt.Redeliver {
				t.Errorf("the answer took %v", took)
			}
			for _, result := range receipt.Results {
				if result.Outcome != adapter.Pending || result.Reason != mapping.ReasonUnauthorized {
					t.Fatalf("got %+v", result)
				}
			}
		}
		if n := sender.Requests(); n > 8 {
			t.Errorf("%d requests with a wrong key", n)
		}
		// What waits for the probe does not wait for the next one.
		time.Sleep(15 * time.Second)
		began := time.Now()
		accept(t, d, ofUsers(100)...)
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("the answer to the probe's request took %v", took)
		}
		time.Sleep(30 * time.Second)
		fault = delivered
		if receipt := accept(t, d, ofUsers(100)...); receipt.Redeliver {
			t.Errorf("got %v", receipt.Counts())
		}
	})
}
