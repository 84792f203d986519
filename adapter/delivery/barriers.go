package delivery

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"segment-saasquatch/adapter"
)

// barriers keep a user's events behind an upsert that waits for its next attempt: an
// event that overtook its identify would be refused for a user whom SaaSquatch does
// not know, or would create one without a name.
//
// What is held back is put back until the upsert is due, and then comes after it,
// since a Queue hands out what is due at the same time in the order of acceptance.
// So it stays behind the upsert when another process goes on.
//
// The holes: after barrierTries attempts the upsert barriers nothing back any more, so an
// upsert that always fails costs its user's events half an hour, and an outage longer
// than that may end with events ahead of their identify. And which upserts wait is
// known to this process only: an event that is accepted, or leased for the first time,
// by another one may overtake the upsert.
type barriers struct {
	number atomic.Int64 // of users, so that nobody waits for the mutex while it is 0

	mu     sync.Mutex
	byUser map[user]barrier
}

// barrier is an upsert that was put back.
type barrier struct {
	id    int64
	tries int       // how many attempts have not settled it
	due   time.Time // when its next attempt may begin
	// end is when it is taken to be gone: purged, or in another process's hands.
	end time.Time
}

const (
	// barrierTries attempts take a quarter to half an hour on the usual schedule, longer if
	// the tenant is paused in between and other users' events probe it.
	barrierTries = 10
	// barrierRest is how long an event waits that comes back before its upsert.
	barrierRest = 2 * time.Second
	// barrierGrace is how long after its due time an upsert is awaited. One that several
	// processes lease may be delivered by another, and nobody tells.
	barrierGrace, sharedBarrierGrace = time.Minute, 5 * time.Second
	// maxBarriers bounds the memory, to about 15 MB. Beyond it nothing is held back.
	maxBarriers = 100_000
)

func newBarriers() barriers { return barriers{byUser: make(map[user]barrier)} }

// begin has an upsert that is put back until due hold back its user's later events,
// and reports whether it does. Tried says that an attempt was made.
func (h *barriers) begin(event *adapter.Leased, tried bool, due, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	of := user{event.AccountID, event.UserID}
	last := h.byUser[of]
	if last.id > event.ID && now.Before(last.end) {
		return false // a later upsert was let go ahead of this one
	}
	next := barrier{id: event.ID, tries: event.Failed, due: due, end: due.Add(barrierGrace)}
	if !event.Until.IsZero() {
		next.end = due.Add(sharedBarrierGrace)
	}
	if last.id == event.ID {
		next.tries = max(next.tries, last.tries)
	}
	if tried {
		next.tries++
	}
	if last.id == 0 && len(h.byUser) >= maxBarriers {
		maps.DeleteFunc(h.byUser, func(_ user, old barrier) bool { return !now.Before(old.end) })
		if len(h.byUser) >= maxBarriers {
			return false
		}
	}
	h.byUser[of] = next
	h.number.Store(int64(len(h.byUser)))
	return next.tries < barrierTries
}

// end lets go what an event has held back.
func (h *barriers) end(event *adapter.Leased) {
	if h.number.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	of := user{event.AccountID, event.UserID}
	if h.byUser[of].id == event.ID {
		h.drop(of)
	}
}

// until returns until when an event has to wait, and false if it has not.
func (h *barriers) until(event *adapter.Leased, now time.Time) (time.Time, bool) {
	if h.number.Load() == 0 || !canWait(event) {
		return time.Time{}, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	of := user{event.AccountID, event.UserID}
	before, ok := h.byUser[of]
	switch {
	case !ok || event.ID <= before.id:
		return time.Time{}, false
	case !now.Before(before.end):
		h.drop(of)
		return time.Time{}, false
	case before.tries >= barrierTries:
		return time.Time{}, false
	}
	if rested := now.Add(barrierRest); rested.After(before.due) {
		return rested, true
	}
	return before.due, true
}

// blocks reports whether later events of the user have to wait.
func (h *barriers) blocks(of user, now time.Time) bool {
	if h.number.Load() == 0 {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	before, ok := h.byUser[of]
	return ok && now.Before(before.end) && before.tries < barrierTries
}

// canWait reports whether the event can wait. One that SaaSquatch may have processed
// cannot: it has to be settled before its key is forgotten.
func canWait(event *adapter.Leased) bool { return event.AmbiguousSince.IsZero() }

func (h *barriers) drop(of user) {
	delete(h.byUser, of)
	h.number.Store(int64(len(h.byUser)))
}
