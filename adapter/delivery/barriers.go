package delivery

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"segment-saasquatch/adapter"
)

// barriers keep a user's events behind an upsert that waits for its next attempt. SaaSquatch would
// refuse an event that overtook its identify, because it does not know the user, or would create a
// user without a name.
//
// The Dispatcher puts back the later events until the upsert is due. They come after it then,
// because a Queue leases events with the same due time in the order of acceptance. So they stay
// behind the upsert when another process goes on.
//
// The holes: after barrierTries attempts the upsert keeps nothing back. So an upsert that always
// fails delays its user's events by half an hour, and a longer outage may end with events ahead of
// their identify. Only this process knows which upserts wait: an event that another process
// accepts, or leases for the first time, may overtake the upsert.
type barriers struct {
	number atomic.Int64 // of users, so that no caller locks the mutex while it is 0

	mu     sync.Mutex
	byUser map[user]barrier
}

// barrier is an upsert that was put back.
type barrier struct {
	id    int64
	tries int       // the attempts that have not settled it
	due   time.Time // of its next attempt
	// end is when the upsert is taken to be gone: purged, or leased by another process.
	end time.Time
}

const (
	// barrierTries attempts take a quarter to half an hour on the usual schedule. They take longer
	// if the tenant is paused in between and other users' events probe it.
	barrierTries = 10
	// barrierRest is how long an event waits that comes back before its upsert.
	barrierRest = 2 * time.Second
	// barrierGrace is how long to wait for an upsert after its due time. If several processes lease
	// from the queue, another one may have delivered it without a notice.
	barrierGrace, sharedBarrierGrace = time.Minute, 5 * time.Second
	// maxBarriers bounds the memory to about 15 MB. Above it, upserts keep nothing back.
	maxBarriers = 100_000
)

func newBarriers() barriers { return barriers{byUser: make(map[user]barrier)} }

// begin has an upsert that is put back until due keep back its user's later events, and reports
// whether it does. Tried says that an attempt was made.
func (h *barriers) begin(event *adapter.Leased, tried bool, due, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	of := user{event.AccountID, event.UserID}
	last := h.byUser[of]
	if last.id > event.ID && now.Before(last.end) {
		return false // a later upsert has been let ahead of this one
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

// end releases the events behind an upsert.
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

// until returns until when an event must wait, and false if it need not.
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

// blocks reports whether later events of the user must wait.
func (h *barriers) blocks(of user, now time.Time) bool {
	if h.number.Load() == 0 {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	before, ok := h.byUser[of]
	return ok && now.Before(before.end) && before.tries < barrierTries
}

// canWait reports whether the event can wait. An event that SaaSquatch may have processed cannot:
// it must be settled before SaaSquatch forgets its key.
func canWait(event *adapter.Leased) bool { return event.AmbiguousSince.IsZero() }

func (h *barriers) drop(of user) {
	delete(h.byUser, of)
	h.number.Store(int64(len(h.byUser)))
}
