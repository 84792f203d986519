package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// numbered returns an event of a user of its own, every second one without a messageId.
func numbered(i int) adapter.Arrival {
	a := event(fmt.Sprintf("message-%d", i))
	a.UserID = fmt.Sprintf("user-%d", i)
	if i%2 == 0 {
		a.MessageID, a.Keyed = "", false
	}
	return a
}

// storedOf returns how many events of each user the store has, by outcome.
func storedOf(t *testing.T, s *store.Store, outcomes ...adapter.Outcome) map[string]int {
	t.Helper()
	found, err := s.Find(context.Background(), adapter.Filter{Outcomes: outcomes}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for i := range found {
		counts[found[i].UserID]++
	}
	return counts
}

// TestUnknownCommit loses connections during COMMITs. Each event is accepted and settled
// once, and its caller learns so.
func TestUnknownCommit(t *testing.T) {
	const producers, requests = 32, 6
	opts, p := throughProxy(t, postgresOptions(t))
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	p.every(3, commitFaults...)
	var wait sync.WaitGroup
	for i := range producers {
		wait.Go(func() {
			for j := range requests {
				list := []adapter.Arrival{numbered(i*requests + j)}
				if err := q.Accept(context.Background(), list); err != nil || list[0].Outcome != adapter.Pending {
					t.Errorf("event %d: %s %s, %v", i*requests+j, list[0].Outcome, list[0].Reason, err)
				}
			}
		})
	}
	wait.Wait()
	p.once(1, replyLost)
	leased := lease(t, q, 1<<20)
	if len(leased) != producers*requests {
		t.Errorf("leased %d events, want %d", len(leased), producers*requests)
	}
	p.once(1, commitLost) // there is nothing to commit
	if more := lease(t, q, 1); len(more) > 0 {
		t.Errorf("leased %v twice", more)
	}
	p.every(3, commitFaults...)
	for i := range producers {
		wait.Go(func() {
			now := time.Now()
			for j := i; j < len(leased); j += producers {
				step := adapter.Step{Outcome: adapter.Delivered, Status: 200, Counted: true, Began: now, At: now}
				if j%4 == 0 {
					step.Outcome, step.Reason, step.Due = adapter.Pending, mapping.ReasonTimeout, now.Add(time.Hour)
				}
				if err := q.MarkSending(context.Background(), &leased[j]); err != nil {
					t.Errorf("mark event %d: %v", j, err)
				}
				if err := q.Record(context.Background(), &leased[j], step); err != nil {
					t.Errorf("record event %d: %v", j, err)
				}
			}
		})
	}
	wait.Wait()
	p.off()
	const all = producers * requests
	got := balanced(t, s)[0]
	if got.Accepted != all || got.Events[adapter.Delivered] != all*3/4 || got.Events[adapter.Pending] != all/4 {
		t.Errorf("got %+v", got)
	}
	for user, n := range storedOf(t, s) {
		if n != 1 {
			t.Errorf("%d events of %s", n, user)
		}
	}
	found, err := s.Find(context.Background(), adapter.Filter{Outcomes: []adapter.Outcome{adapter.Pending}}, 1)
	if err != nil || len(found) != 1 {
		t.Fatalf("got %v, %v", found, err)
	}
	if d, err := s.Get(context.Background(), found[0].ID); err != nil || d.Attempts != 1 || len(d.History) != 1 {
		t.Errorf("got %+v, %v", d, err)
	}
}

// TestUnknownAcceptance has the database stay away for longer than it is asked whether it
// committed. A request that is told that nothing was stored has nothing stored. One that is
// told that this is unknown has each event stored once, or not at all.
func TestUnknownAcceptance(t *testing.T) {
	const producers, requests = 32, 6
	opts, p := throughProxy(t, postgresOptions(t))
	s := open(t, store.WithResolve(opts, 200*time.Millisecond))
	q := connection(t, s, "default", "tenant")
	p.once(6, replyLostAndDown)
	var unavailable, unknown sync.Map
	var wait sync.WaitGroup
	for i := range producers {
		wait.Go(func() {
			for j := range requests {
				n := i*requests + j
				list := []adapter.Arrival{numbered(n)}
				switch err := q.Accept(context.Background(), list); {
				case err == nil:
				case errors.As(err, new(*adapter.UnavailableError)):
					unavailable.Store(n, true)
				case strings.Contains(err.Error(), "unknown whether"):
					unknown.Store(n, true)
				default:
					t.Errorf("event %d: %v", n, err)
				}
			}
		})
	}
	wait.Wait()
	p.up()
	stored := storedOf(t, s)
	stayed := 0
	for n := range producers * requests {
		count := stored[fmt.Sprintf("user-%d", n)]
		_, isUnavailable := unavailable.Load(n)
		_, isUnknown := unknown.Load(n)
		switch {
		case isUnknown:
			stayed += count
			if count > 1 {
				t.Errorf("event %d is stored %d times", n, count)
			}
			if again := numbered(n); again.MessageID != "" {
				want := "pending"
				if count == 1 {
					want = "duplicate already_accepted"
				}
				if got := accept(t, q, again); got != want {
					t.Errorf("event %d comes again: %s, want %s", n, got, want)
				}
			}
		case isUnavailable && count != 0, !isUnavailable && count != 1:
			t.Errorf("event %d is stored %d times, unavailable: %v", n, count, isUnavailable)
		}
	}
	if stayed == 0 {
		t.Error("no event of an unknown commit is stored")
	}
	balanced(t, s)
}

// TestUnknownRecording has the database stay away for longer than it is asked whether it
// committed outcomes. Their callers, who try again, learn that they are recorded.
func TestUnknownRecording(t *testing.T) {
	const events = 40
	opts, p := throughProxy(t, postgresOptions(t))
	s := open(t, store.WithResolve(opts, 200*time.Millisecond))
	q := connection(t, s, "default", "tenant")
	list := make([]adapter.Arrival, events)
	for i := range list {
		list[i] = numbered(i)
	}
	accept(t, q, list...)
	leased := lease(t, q, events)
	p.once(2, replyLostAndDown)
	unknown := make(chan struct{}, 1000)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var wait sync.WaitGroup
	for i := range leased {
		wait.Go(func() {
			step := adapter.Step{Outcome: adapter.Delivered, Status: 200, Counted: true, Began: time.Now(),
				At: time.Now()}
			for ctx.Err() == nil {
				err := q.Record(ctx, &leased[i], step)
				if err == nil {
					return
				}
				if !errors.As(err, new(*adapter.UnavailableError)) {
					t.Errorf("event %d: %v", i, err)
					return
				}
				if strings.Contains(err.Error(), "unknown whether") {
					select {
					case unknown <- struct{}{}:
					default:
					}
				}
				_ = adapter.Wait(ctx, 10*time.Millisecond) // for the server to come back
			}
			t.Errorf("event %d is not recorded", i)
		})
	}
	select {
	case <-unknown:
	case <-ctx.Done():
		t.Error("no commit is unknown")
	}
	p.up()
	wait.Wait()
	if got := balanced(t, s)[0]; got.Events[adapter.Delivered] != events || got.Accepted != events {
		t.Errorf("got %+v", got)
	}
}
