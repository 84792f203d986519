package adapter

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/mapping"
)

// script is a Sender that answers by a function and keeps what was sent.
type script struct {
	answer func(event *mapping.UserEvent, attempt int) Attempt
	mu     sync.Mutex
	sent   []string // "user/key" in the order of the requests
	tries  map[string]int
	under  int
	most   int
}

func (s *script) Send(_ context.Context, event *mapping.UserEvent) Attempt {
	s.mu.Lock()
	name := event.UserID + "/" + event.Key
	s.sent = append(s.sent, name)
	if s.tries == nil {
		s.tries = make(map[string]int)
	}
	s.tries[name]++
	attempt := s.tries[name]
	s.under++
	s.most = max(s.most, s.under)
	s.mu.Unlock()
	result := s.answer(event, attempt)
	s.mu.Lock()
	s.under--
	s.mu.Unlock()
	return result
}

func always(a Attempt) func(*mapping.UserEvent, int) Attempt {
	return func(*mapping.UserEvent, int) Attempt { return a }
}

var (
	delivered = Attempt{Outcome: Delivered, Status: 200}
	conflict  = Attempt{Outcome: Duplicate, Reason: ReasonConflict, Status: 409}
	busy      = Attempt{Outcome: Pending, Reason: ReasonServerError, Status: 503}
	refused   = Attempt{Outcome: Dead, Reason: ReasonRefused, Status: 400}
	wrongKey  = Attempt{Outcome: Pending, Reason: ReasonUnauthorized, Status: 401, Misconfigured: true}
)

func newDirect(t *testing.T, sender Sender, forwarding ForwarderOptions, record func(Result)) *Direct {
	t.Helper()
	rules := mapping.DefaultRules()
	rules.AnyAge = true
	mapper, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return NewDirect(mapper, NewForwarder(sender, forwarding), DirectOptions{Record: record})
}

func track(user, event, messageID string) []byte {
	return fmt.Appendf(nil, `{"type":"track","userId":%q,"event":%q,"messageId":%q}`, user, event, messageID)
}

func accept(t *testing.T, d *Direct, events ...[]byte) Receipt {
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
		sender := &script{answer: func(event *mapping.UserEvent, _ int) Attempt {
			switch event.Key {
			case "again":
				return conflict
			case "bad":
				return refused
			}
			return delivered
		}}
		var (
			mu       sync.Mutex
			recorded = make(map[int]Outcome)
		)
		d := newDirect(t, sender, ForwarderOptions{}, func(r Result) {
			mu.Lock()
			defer mu.Unlock()
			if recorded[r.Index] != 0 {
				t.Errorf("event %d is recorded twice", r.Index)
			}
			recorded[r.Index] = r.Outcome
		})
		receipt := accept(t, d, track("u", "fine", "00000001"), track("u", "again", "00000002"), track("v", "bad", "00000003"),
			[]byte(`{"type":"page"}`), []byte(`null`))
		want := []Outcome{Delivered, Duplicate, Dead, Skipped, Rejected}
		for i, result := range receipt.Results {
			if result.Outcome != want[i] {
				t.Errorf("event %d: %v %s, want %v", i, result.Outcome, result.Reason, want[i])
			}
		}
		if receipt.Redeliver {
			t.Error("asks to send again what is settled")
		}
		for i := range want {
			if recorded[i] != want[i] {
				t.Errorf("event %d is recorded as %v", i, recorded[i])
			}
		}
		if r := receipt.Results[0]; r.IdempotencyKey != "00000001" || r.EventKey != "fine" || r.Attempts != 1 || r.Status != 200 {
			t.Errorf("result %+v", r)
		}
	})
}

func TestDirectRetriesWithinItsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := &script{answer: func(_ *mapping.UserEvent, attempt int) Attempt {
			if attempt < 4 {
				return busy
			}
			return delivered
		}}
		d := newDirect(t, sender, ForwarderOptions{}, nil)
		receipt := accept(t, d, track("u", "e", "00000001"))
		if r := receipt.Results[0]; r.Outcome != Delivered || r.Attempts != 4 || receipt.Redeliver {
			t.Errorf("got %+v", r)
		}
	})
}

func TestDirectGivesUpWithItsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := &script{answer: always(busy)}
		d := newDirect(t, sender, ForwarderOptions{}, nil)
		started := time.Now()
		receipt := accept(t, d, track("u", "first", "00000001"), track("u", "second", "00000002"))
		if took := time.Since(started); took > DefaultBudget {
			t.Errorf("took %v", took)
		}
		first, second := receipt.Results[0], receipt.Results[1]
		if !receipt.Redeliver || first.Outcome != Pending || first.Reason != ReasonServerError || first.Attempts < 2 || first.Status != 503 {
			t.Errorf("got %+v", first)
		}
		if second.Outcome != Pending || second.Attempts != 0 {
			t.Errorf("the user's second event overtook the first: %+v", second)
		}
	})
}

// TestDirectLeavesAnAttemptRunning checks that the answer does not wait for an
// attempt longer than the budget, and that its outcome is recorded all the same.
func TestDirectLeavesAnAttemptRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := &script{answer: func(*mapping.UserEvent, int) Attempt {
			time.Sleep(9 * time.Second) // on the fake clock
			return delivered
		}}
		var (
			mu       sync.Mutex
			recorded []Result
		)
		d := newDirect(t, sender, ForwarderOptions{}, func(r Result) {
			mu.Lock()
			defer mu.Unlock()
			recorded = append(recorded, r)
		})
		soFar := func() []Result {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(recorded)
		}
		started := time.Now()
		receipt := accept(t, d, track("u", "e", "no key!"), track("u", "after", "00000002"))
		if took := time.Since(started); took != DefaultBudget || !receipt.Redeliver {
			t.Errorf("answered after %v, %+v", took, receipt)
		}
		if got := soFar(); len(got) != 2 || got[0].Outcome != Pending || got[0].Reason != ReasonBudgetExceeded {
			t.Fatalf("recorded %+v", got)
		}
		if err := d.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := soFar(); len(got) != 3 || got[2].Outcome != Delivered || len(sender.sent) != 1 {
			t.Fatalf("recorded %+v, sent %v", got, sender.sent)
		}
		// Segment sends both again; the first has no key but is not sent twice.
		sender.answer = always(delivered)
		receipt = accept(t, d, track("u", "e", "no key!"), track("u", "after", "00000002"))
		if r := receipt.Results[0]; r.Outcome != Duplicate || r.Reason != ReasonRecentlyDelivered || receipt.Redeliver {
			t.Errorf("got %+v", r)
		}
		if want := []string{"u/e", "u/after"}; !slices.Equal(sender.sent, want) {
			t.Errorf("sent %v, want %v", sender.sent, want)
		}
	})
}

func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		sender := &script{answer: func(*mapping.UserEvent, int) Attempt {
			<-release
			return delivered
		}}
		d := newDirect(t, sender, ForwarderOptions{}, nil)
		accept(t, d, track("u", "e", "00000001"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Stop(ctx); err == nil {
			t.Error("Stop did not say that an attempt is under way")
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
		sender := &script{}
		sender.answer = func(*mapping.UserEvent, int) Attempt {
			cancel()
			return delivered
		}
		d := newDirect(t, sender, ForwarderOptions{Concurrency: 1}, nil)
		receipt, err := d.Accept(ctx, [][]byte{track("u", "e", "00000001"), track("v", "e", "00000002")})
		if err != nil || !receipt.Redeliver || len(sender.sent) != 1 {
			t.Errorf("%v, sent %v, %v", receipt, sender.sent, err)
		}
		synctest.Wait()
	})
}

func TestOneUsersEventsKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := &script{answer: func(_ *mapping.UserEvent, attempt int) Attempt {
			if attempt == 1 {
				return busy
			}
			return delivered
		}}
		d := newDirect(t, sender, ForwarderOptions{}, nil)
		var events [][]byte
		for i := range 6 {
			events = append(events, track("u", fmt.Sprint("e", i), fmt.Sprintf("%08d", i)))
		}
		if accept(t, d, events...).Redeliver {
			t.Error("not all delivered")
		}
		if want := []string{"u/e0", "u/e0", "u/e1", "u/e1", "u/e2", "u/e2", "u/e3", "u/e3", "u/e4", "u/e4", "u/e5", "u/e5"}; !slices.Equal(sender.sent, want) {
			t.Errorf("sent %v", sender.sent)
		}
	})
}

func TestDeadEventDoesNotHoldUpTheUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := &script{answer: func(event *mapping.UserEvent, _ int) Attempt {
			if event.Key == "bad" {
				return refused
			}
			return delivered
		}}
		d := newDirect(t, sender, ForwarderOptions{}, nil)
		receipt := accept(t, d, track("u", "bad", "00000001"), track("u", "good", "00000002"))
		if receipt.Results[0].Outcome != Dead || receipt.Results[1].Outcome != Delivered {
			t.Errorf("got %+v", receipt.Results)
		}
	})
}

func TestConcurrencyIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := &script{answer: func(*mapping.UserEvent, int) Attempt {
			time.Sleep(100 * time.Millisecond)
			return delivered
		}}
		d := newDirect(t, sender, ForwarderOptions{Concurrency: 5}, nil)
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
		if sender.most != 5 {
			t.Errorf("%d requests under way at once, want 5", sender.most)
		}
	})
}

func TestRateLimitSpacesRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := &script{answer: always(delivered)}
		d := newDirect(t, sender, ForwarderOptions{RateLimit: 10}, nil)
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
		sender := &script{answer: always(wrongKey)}
		d := newDirect(t, sender, ForwarderOptions{Concurrency: 2}, nil)
		var events [][]byte
		for i := range 100 {
			events = append(events, track(fmt.Sprint("u", i), "e", fmt.Sprintf("%08d", i)))
		}
		receipt := accept(t, d, events...)
		if len(sender.sent) > 2 || !receipt.Redeliver {
			t.Errorf("%d requests with a wrong key", len(sender.sent))
		}
		for _, result := range receipt.Results {
			if result.Outcome != Pending || result.Reason != ReasonUnauthorized {
				t.Fatalf("got %+v", result)
			}
		}
	})
}

// TestConflictAfterFailure checks that a 409 behind a failed attempt of ours is
// told from an ordinary one, within a request and across two.
func TestConflictAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := &script{answer: func(event *mapping.UserEvent, attempt int) Attempt {
			if event.Key == "e" && attempt == 1 {
				return busy
			}
			return conflict
		}}
		d := newDirect(t, sender, ForwarderOptions{}, nil)
		if r := accept(t, d, track("u", "e", "00000001")).Results[0]; r.Outcome != Duplicate || r.Reason != ReasonConflictAfterFailure {
			t.Errorf("got %+v", r)
		}
		if r := accept(t, d, track("u", "changed", "00000001")).Results[0]; r.Outcome != Duplicate || r.Reason != ReasonConflict {
			t.Errorf("the next 409 is an ordinary one, got %+v", r)
		}

		down := true
		sender = &script{answer: func(*mapping.UserEvent, int) Attempt {
			if down {
				return busy
			}
			return conflict
		}}
		d = newDirect(t, sender, ForwarderOptions{}, nil)
		if !accept(t, d, track("u", "e", "00000001")).Redeliver {
			t.Error("settled while SaaSquatch was down")
		}
		down = false
		if r := accept(t, d, track("u", "e", "00000001")).Results[0]; r.Outcome != Duplicate || r.Reason != ReasonConflictAfterFailure {
			t.Errorf("got %+v", r)
		}
	})
}

// TestConflictAfterRefusal checks that a 409 behind a refusal of the same key is
// told from an ordinary one: the refused attempt may have used up the key.
func TestConflictAfterRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := &script{answer: func(_ *mapping.UserEvent, attempt int) Attempt {
			if attempt == 1 {
				return refused
			}
			return conflict
		}}
		d := newDirect(t, sender, ForwarderOptions{}, nil)
		accept(t, d, track("u", "e", "00000001"))
		if r := accept(t, d, track("u", "e", "00000001")).Results[0]; r.Reason != ReasonConflictAfterFailure {
			t.Errorf("got %+v", r)
		}
	})
}

// TestRedelivery checks what is and what is not taken for a redelivery.
func TestRedelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := &script{answer: always(delivered)}
		d := newDirect(t, sender, ForwarderOptions{}, nil)
		accept(t, d, track("u", "e", "short"), track("u", "e", "valid-key"))
		for _, test := range []struct {
			name  string
			event []byte
			want  Outcome
		}{
			{"the same again", track("u", "e", "short"), Duplicate},
			{"the same with a key", track("u", "e", "valid-key"), Duplicate},
			{"the same key on another event", track("u", "f", "valid-key"), Delivered},
			{"the same messageId on another event", track("u", "f", "short"), Delivered},
			{"no messageId", []byte(`{"type":"track","userId":"u","event":"e"}`), Delivered},
			{"no messageId again", []byte(`{"type":"track","userId":"u","event":"e"}`), Delivered},
		} {
			if r := accept(t, d, test.event).Results[0]; r.Outcome != test.want {
				t.Errorf("%s: %v, want %v", test.name, r.Outcome, test.want)
			}
		}
	})
}
