package delivery

import (
	"sync"
	"time"

	"segment-saasquatch/adapter"
)

// foreignScope is what an answer is about that is not SaaSquatch's own; see [Attempt].Foreign.
type foreignScope uint8

const (
	// scopeUnknown: it is not known yet.
	scopeUnknown foreignScope = iota
	// scopeEvent: the event alone. Others get proper answers.
	scopeEvent
	// scopeTenant: every event. None gets a proper answer.
	scopeTenant
)

const (
	// foreignRest is the rest of a Breaker.
	foreignRest = 10 * time.Second
	// foreignInARow is how many events have to get foreign answers, with no proper
	// answer to any event in between, until that is taken for the tenant's. One event
	// that is tried again and again counts once.
	foreignInARow = misconfiguredInARow
)

// foreignAnswers finds out what foreign answers are about. Its knowledge is lost with
// the process. It is safe for concurrent use.
type foreignAnswers struct {
	// rest is how long no event may have had a proper answer besides: a busy tenant
	// with several events that a firewall stops is not paused for them.
	rest time.Duration

	mu     sync.Mutex
	proper time.Time // when an event got a proper answer last, zero if none did
	// events had foreign answers since then: the first foreignInARow of them.
	events [foreignInARow]uint64
	n      int
}

// add takes an attempt into account that ended now. The number tells its event from others
// in this process, 0 if it is unknown.
func (f *foreignAnswers) add(a *adapter.Attempt, event uint64, now time.Time) {
	switch v := verdictOf(*a); {
	case v == answered || v == throttled:
		f.mu.Lock()
		defer f.mu.Unlock()
		f.proper, f.n = now, 0
	case a.Foreign:
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, known := range f.events[:f.n] {
			if event != 0 && known == event {
				return
			}
		}
		if f.n < foreignInARow {
			f.events[f.n] = event
			f.n++
		}
	}
}

// scope says what a foreign answer is about that was added now, to an event that is
// tried since the given time.
func (f *foreignAnswers) scope(since, now time.Time) foreignScope {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.n >= foreignInARow && (f.proper.IsZero() || now.Sub(f.proper) >= f.rest):
		return scopeTenant
	case !f.proper.IsZero() && !f.proper.Before(since):
		return scopeEvent
	default:
		return scopeUnknown
	}
}
