package store_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
)

// TestSkewedReplicas has two replicas whose clocks are 300 s away from the database's, in
// every combination. A lease must last as long for the other replica as for its own.
func TestSkewedReplicas(t *testing.T) {
	opts := store.WithLease(postgresOptions(t), time.Minute)
	c := deliverytest.NewStoppedClock()
	opts = store.WithDatabaseClock(opts, c.Now)
	replicas := make(map[time.Duration]*store.Queue)
	skews := []time.Duration{-5 * time.Minute, 0, 5 * time.Minute}
	stores := make(map[time.Duration]*store.Store)
	for _, skew := range skews {
		opts.Now = func() time.Time { return c.Now().Add(skew) }
		stores[skew] = open(t, opts)
		replicas[skew] = connection(t, stores[skew], "default", "tenant")
	}
	for _, ours := range skews {
		for _, theirs := range skews {
			// Each finds due what it has accepted itself.
			accept(t, replicas[ours], event("message-"+ours.String()+theirs.String()))
			leased := lease(t, replicas[ours], 10)
			if len(leased) != 1 || !leased[0].Until.Equal(c.Now().Add(ours).Add(time.Minute)) {
				t.Fatalf("skew %v: got %+v", ours, leased)
			}
			if taken := lease(t, replicas[theirs], 10); len(taken) != 0 {
				t.Errorf("skew %v took at once what skew %v has leased", theirs, ours)
			}
			c.Advance(time.Minute - time.Millisecond)
			if taken := lease(t, replicas[theirs], 10); len(taken) != 0 {
				t.Errorf("skew %v took before its end what skew %v has leased", theirs, ours)
			}
			if moved := redriveTo(t, stores[theirs], liveTenant, leased[0].ID); moved.Pending != 0 {
				t.Errorf("skew %v moved to another tenant what skew %v has leased", theirs, ours)
			}
			c.Advance(time.Millisecond)
			taken := lease(t, replicas[theirs], 10)
			if len(taken) != 1 {
				t.Fatalf("skew %v took %d events whose lease by skew %v is over", theirs, len(taken), ours)
			}
			record(t, replicas[theirs], taken, adapter.Step{Outcome: adapter.Delivered, At: c.Now()})
		}
	}
	balanced(t, stores[0])
}

// TestSkewIsTold moves the clock of a process away from the database's, and back.
func TestSkewIsTold(t *testing.T) {
	opts := postgresOptions(t)
	c := deliverytest.NewStoppedClock()
	var mu sync.Mutex
	var ahead time.Duration
	var told []time.Duration
	opts = store.WithDatabaseClock(opts, c.Now)
	opts.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return c.Now().Add(ahead)
	}
	opts.OnSkew = func(skew time.Duration) { told = append(told, skew) }
	s := open(t, opts)
	// The store measures by itself too, and leaves out a measurement with a jump in it.
	for _, skew := range []time.Duration{0, 4 * time.Second, 6 * time.Second, time.Minute, -2 * time.Second,
		-6 * time.Second, 0} {
		mu.Lock()
		ahead = skew
		mu.Unlock()
		s.Examine(context.Background())
		if s.Skew() != skew {
			t.Errorf("skew %v, want %v", s.Skew(), skew)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if want := []time.Duration{6 * time.Second, -2 * time.Second, -6 * time.Second, 0}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

// TestDatabaseClock reads the clock of the database itself, in the midst of a transaction
// that began earlier.
func TestDatabaseClock(t *testing.T) {
	s := open(t, postgresOptions(t))
	q := connection(t, s, "default", "tenant")
	accept(t, q, event("message-1"))
	if leased := lease(t, q, 1); len(leased) != 1 {
		t.Errorf("leased %v", leased)
	}
	s.Examine(context.Background())
	if s.Skew().Abs() > time.Hour {
		t.Errorf("skew %v", s.Skew())
	}
}
