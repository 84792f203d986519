package delivery

import (
	"fmt"
	"testing"
	"time"

	"segment-saasquatch/adapter"
)

func leasedEvent(id int64, of string) *adapter.Leased {
	return &adapter.Leased{ID: id, UserID: of, AccountID: of}
}

func TestHolds(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	due := now.Add(10 * time.Second)
	at := func(h *barriers, event *adapter.Leased, now time.Time) string {
		until, held := h.until(event, now)
		if !held {
			return "free"
		}
		return until.Sub(now).String()
	}
	for name, test := range map[string]struct {
		prepare func(h *barriers)
		event   *adapter.Leased
		now     time.Time
		want    string
	}{
		"nothing": {func(*barriers) {}, leasedEvent(2, "u"), now, "free"},
		"later event": {func(h *barriers) { h.begin(leasedEvent(1, "u"), true, due, now) },
			leasedEvent(2, "u"), now, "10s"},
		"itself": {func(h *barriers) { h.begin(leasedEvent(1, "u"), true, due, now) },
			leasedEvent(1, "u"), now, "free"},
		"earlier event": {func(h *barriers) { h.begin(leasedEvent(3, "u"), true, due, now) },
			leasedEvent(2, "u"), now, "free"},
		"another user": {func(h *barriers) { h.begin(leasedEvent(1, "u"), true, due, now) },
			leasedEvent(2, "v"), now, "free"},
		"another account": {func(h *barriers) { h.begin(leasedEvent(1, "u"), true, due, now) },
			&adapter.Leased{ID: 2, UserID: "u", AccountID: "v"}, now, "free"},
		"one that may be processed": {func(h *barriers) { h.begin(leasedEvent(1, "u"), true, due, now) },
			&adapter.Leased{ID: 2, UserID: "u", AccountID: "u", AmbiguousSince: now}, now, "free"},
		"when it is due": {func(h *barriers) { h.begin(leasedEvent(1, "u"), true, due, now) },
			leasedEvent(2, "u"), due, "2s"},
		"a moment before": {func(h *barriers) { h.begin(leasedEvent(1, "u"), true, due, now) },
			leasedEvent(2, "u"), due.Add(-time.Second), "2s"},
		"long after it was due": {func(h *barriers) { h.begin(leasedEvent(1, "u"), true, due, now) },
			leasedEvent(2, "u"), due.Add(barrierGrace), "free"},
		"after it was due, leases end": {func(h *barriers) {
			h.begin(&adapter.Leased{ID: 1, UserID: "u", AccountID: "u", Until: now.Add(time.Hour)}, true, due, now)
		}, leasedEvent(2, "u"), due.Add(sharedBarrierGrace), "free"},
		"settled": {func(h *barriers) {
			h.begin(leasedEvent(1, "u"), true, due, now)
			h.end(leasedEvent(1, "u"))
		}, leasedEvent(2, "u"), now, "free"},
		"another settled": {func(h *barriers) {
			h.begin(leasedEvent(1, "u"), true, due, now)
			h.end(leasedEvent(2, "u"))
		}, leasedEvent(3, "u"), now, "10s"},
		"tried often": {func(h *barriers) {
			for range barrierTries - 1 {
				h.begin(leasedEvent(1, "u"), true, due, now)
			}
		}, leasedEvent(2, "u"), now, "10s"},
		"tried too often": {func(h *barriers) {
			for range barrierTries {
				h.begin(leasedEvent(1, "u"), true, due, now)
			}
		}, leasedEvent(2, "u"), now, "free"},
		"tried too often by an earlier process": {func(h *barriers) {
			h.begin(&adapter.Leased{ID: 1, UserID: "u", AccountID: "u", Failed: barrierTries - 1}, true, due, now)
		}, leasedEvent(2, "u"), now, "free"},
		"given back often": {func(h *barriers) {
			for range 5 * barrierTries {
				h.begin(leasedEvent(1, "u"), false, due, now)
			}
		}, leasedEvent(2, "u"), now, "10s"},
		"overtaken by another": {func(h *barriers) {
			h.begin(leasedEvent(5, "u"), true, due, now)
			h.begin(leasedEvent(1, "u"), true, due.Add(time.Hour), now)
		}, leasedEvent(6, "u"), now, "10s"},
	} {
		h := newBarriers()
		test.prepare(&h)
		if got := at(&h, test.event, test.now); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// TestHoldsAreBounded fills them with upserts that are heard of no more.
func TestHoldsAreBounded(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	h := newBarriers()
	for i := range maxBarriers {
		if !h.begin(leasedEvent(1, fmt.Sprint(i)), true, now, now) {
			t.Fatalf("upsert %d holds nothing back", i)
		}
	}
	if h.begin(leasedEvent(1, "u"), true, now, now) || len(h.byUser) != maxBarriers {
		t.Errorf("%d users", len(h.byUser))
	}
	if !h.begin(leasedEvent(1, "0"), true, now, now) {
		t.Error("one that held something back does not any more")
	}
	if !h.begin(leasedEvent(1, "u"), true, now, now.Add(barrierGrace)) || len(h.byUser) != 1 || h.number.Load() != 1 {
		t.Errorf("%d users after those have gone", len(h.byUser))
	}
}

func TestTakeBehind(t *testing.T) {
	l := newUserQueues()
	l.add([]adapter.Leased{
		{ID: 3, UserID: "u", AccountID: "u", Payload: []byte("abc")}, {ID: 1, UserID: "u", AccountID: "u"},
		{ID: 4, UserID: "v", AccountID: "v"}, {ID: 5, UserID: "u", AccountID: "u", Payload: []byte("ab")},
		{ID: 6, UserID: "u", AccountID: "u", AmbiguousSince: time.Now()}, {ID: 7, UserID: "u", AccountID: "u"},
	}, time.Now())
	userQueue := l.byUser[user{"u", "u"}]
	behind := l.takeBehind(userQueue.events[0], time.Now())
	if len(behind) != 2 || behind[0].leased.ID != 5 || behind[1].leased.ID != 7 {
		t.Errorf("took %+v", behind)
	}
	if len(userQueue.events) != 3 || userQueue.events[1].ID != 1 || userQueue.events[2].ID != 6 || l.events != 4 ||
		l.bytes != 3 {
		t.Errorf("left %d in the userQueue, %d events of %d bytes", len(userQueue.events), l.events, l.bytes)
	}
	if behind := l.takeBehind(leasedEvent(9, "none"), time.Now()); behind != nil {
		t.Errorf("took %+v of no user", behind)
	}
}
