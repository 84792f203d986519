package store_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// sized is an arrival with a payload of so many bytes.
func sized(messageID string, outcome adapter.Outcome, bytes int) adapter.Arrival {
	a := event(messageID)
	a.Outcome = outcome
	if outcome == adapter.Rejected {
		a.Reason = "missing_type"
	}
	a.Payload = []byte(strings.Repeat("x", bytes))
	return a
}

// die makes events dead letters, one after the other.
func die(t *testing.T, q *store.Queue, bytes int, messageIDs ...string) {
	t.Helper()
	for _, id := range messageIDs {
		accept(t, q, sized(id, adapter.Pending, bytes))
		leased := lease(t, q, 1)
		record(t, q, leased, adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused,
			At: leased[0].ReceivedAt})
	}
}

// keptOf returns the messageIds of the dead letters that have their payloads, the oldest
// first. All that the store says of payloads has to agree.
func keptOf(t *testing.T, s *store.Store) string {
	t.Helper()
	ctx := context.Background()
	found, err := s.Find(ctx, adapter.Filter{Outcomes: []adapter.Outcome{adapter.Rejected, adapter.Dead}}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	payloads, err := s.Payloads(ctx, idsOf(found))
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	var bytes int64
	for _, d := range slices.Backward(found) {
		payload, ok := payloads[d.ID]
		if ok == d.PayloadDropped {
			t.Errorf("payload %v, found %+v", payload, d)
		}
		if len(found) < 20 { // Get is slow
			shown, err := s.Get(ctx, d.ID)
			if err != nil || ok == shown.PayloadDropped || ok != (shown.Payload != nil) {
				t.Errorf("payload %v, shown %+v, %v", payload, shown, err)
			}
		}
		if ok {
			kept = append(kept, d.MessageID)
			bytes += int64(len(payload.Bytes))
		}
	}
	var counted int64
	for _, b := range balanced(t, s) {
		counted += b.PayloadBytes[adapter.Rejected] + b.PayloadBytes[adapter.Dead]
	}
	if counted != bytes {
		t.Errorf("%d bytes counted, but there are %d", counted, bytes)
	}
	return strings.Join(kept, " ")
}

// droppedLog notes what a store drops.
type droppedLog struct {
	mu   sync.Mutex
	text []string
}

func (l *droppedLog) add(d store.Dropped) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, fmt.Sprintf("%d %s, %d bytes, %d to %d", d.Payloads, d.Outcome, d.Bytes, d.First, d.Last))
}

func (l *droppedLog) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.text = nil }()
	return strings.Join(l.text, "; ")
}

// TestDeadLettersAreBounded fills the room for payloads step by step.
func TestDeadLettersAreBounded(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		var dropped droppedLog
		opts.Limits.DeadLetters, opts.OnDropped = 1000, dropped.add
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		check := func(what, kept, told string) {
			t.Helper()
			wantText(t, what, keptOf(t, s), kept)
			wantText(t, what+", told", dropped.take(), told)
		}
		accept(t, q, sized("r-1", adapter.Rejected, 300), sized("r-2", adapter.Rejected, 300))
		die(t, q, 300, "d-3")
		check("room for all", "r-1 r-2 d-3", "")
		accept(t, q, sized("r-4", adapter.Rejected, 300))
		check("the oldest rejected one makes room", "r-2 d-3 r-4", "1 rejected, 300 bytes, 1 to 1")
		die(t, q, 500, "d-5")
		check("and so it does for a dead one", "d-3 d-5", "2 rejected, 600 bytes, 2 to 4")
		accept(t, q, sized("r-6", adapter.Rejected, 200), sized("r-7", adapter.Rejected, 201))
		check("a dead one does not", "d-3 d-5 r-6", "1 rejected, 201 bytes, 7 to 7")
		die(t, q, 400, "d-8")
		check("unless no rejected one has any", "d-5 d-8", "1 rejected, 200 bytes, 6 to 6; 1 dead, 300 bytes, 3 to 3")
		if got := redrive(t, s, 3, 6); got != (adapter.Redriven{}) {
			t.Errorf("without their payloads %+v are redriven", got)
		}
		if got := redrive(t, s, 5); got != (adapter.Redriven{Pending: 1}) {
			t.Errorf("redriven %+v", got)
		}
		record(t, q, lease(t, q, 1), adapter.Step{Outcome: adapter.Delivered, At: time.Now()})
		check("redriven", "d-8", "")
		accept(t, q, sized("r-9", adapter.Rejected, 600))
		check("there is room again", "d-8 r-9", "")
		if n, err := s.Purge(context.Background(), []int64{8}); n != 1 || err != nil {
			t.Error(n, err)
		}
		accept(t, q, sized("r-10", adapter.Rejected, 400))
		check("purged", "r-9 r-10", "")
		die(t, q, 1001, "d-11")
		check("larger than all the room", "", "2 rejected, 1000 bytes, 9 to 10; 1 dead, 1001 bytes, 11 to 11")
	})
}

// TestFewerDeadLetters opens a store with a lower limit than it was filled with.
func TestFewerDeadLetters(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		die(t, q, 100, "d-1", "d-2")
		var rejected []adapter.Arrival
		for range 2500 { // several steps
			rejected = append(rejected, sized("", adapter.Rejected, 10))
		}
		accept(t, q, append(rejected, sized("r-last", adapter.Rejected, 10))...)
		closeStore(t, s)
		opts.Limits.DeadLetters = 213
		s = open(t, opts)
		if err := s.Retain(context.Background()); err != nil {
			t.Fatal(err)
		}
		wantText(t, "kept", keptOf(t, s), "d-1 d-2 r-last")
	})
}

// TestDeadLettersOfAnEarlierVersion counts those that have no row in the table of dead
// letters and no checksum.
func TestDeadLettersOfAnEarlierVersion(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		for i := range 3 {
			accept(t, q, sized("", adapter.Rejected, 20+i))
		}
		die(t, q, 50, "d-4")
		accept(t, q, event("pending"))
		closeStore(t, s)
		earlier := func() {
			db := raw(t, opts)
			for _, statement := range []string{
				`DELETE FROM dead_letters`, `UPDATE totals SET bytes = 0 WHERE outcome IN (4, 5)`,
				`INSERT INTO uncounted_dead_letters VALUES (0)`,
				`UPDATE queue SET checksum = NULL`, `UPDATE payloads SET checksum = NULL`,
			} {
				execute(t, db, statement)
			}
		}
		earlier()
		s = open(t, opts)
		if err := s.Retain(context.Background()); err != nil {
			t.Fatal(err)
		}
		if b := balanced(t, s)[0]; b.PayloadBytes[adapter.Rejected] != 63 || b.PayloadBytes[adapter.Dead] != 50 {
			t.Errorf("counted %v", b.PayloadBytes)
		}
		// Their payloads pass without a checksum.
		q = connection(t, s, "default", "tenant")
		redrive(t, s, 4)
		for _, l := range lease(t, q, 10) {
			if l.Damaged {
				t.Errorf("damaged: %+v", l)
			}
		}
		closeStore(t, s)
		// Before they are counted the balance holds, and they can be purged and redriven.
		earlier()
		opts.Shared = true // counts nothing
		s = open(t, opts)
		balanced(t, s)
		if n, err := s.Purge(context.Background(), []int64{1}); n != 1 || err != nil {
			t.Error(n, err)
		}
		redrive(t, s, 2)
		if b := balanced(t, s)[0]; b.PayloadBytes[adapter.Rejected] != 0 {
			t.Errorf("counted %v", b.PayloadBytes)
		}
		closeStore(t, s)
		opts.Shared, opts.Limits.DeadLetters = false, 21
		s = open(t, opts)
		if err := s.Retain(context.Background()); err != nil {
			t.Fatal(err)
		}
		if b := balanced(t, s)[0]; b.PayloadBytes[adapter.Rejected] != 0 {
			t.Errorf("a payload of 22 bytes is kept within 21: %v", b.PayloadBytes)
		}
	})
}

// TestVerifyMeasuresDeadLetters has a payload disappear, and a sum be wrong.
func TestVerifyMeasuresDeadLetters(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		die(t, q, 50, "d-1")
		accept(t, q, sized("r-2", adapter.Rejected, 20))
		balanced(t, s)
		db := raw(t, opts)
		execute(t, db, `DELETE FROM payloads WHERE delivery = 1`)
		execute(t, db, `UPDATE totals SET bytes = 21 WHERE outcome = 4`)
		verified, err := s.Verify(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		want :=
			"rejected: payloads of 21 bytes counted, but there are 20 bytes; " +
				"dead: payloads of 50 bytes counted, but there are 0 bytes"
		wantText(t, "faults", strings.Join(verified[0].Faults, "; "), want)
	})
}
