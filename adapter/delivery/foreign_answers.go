package delivery

import (
	"sync"
	"time"

	"segment-saasquatch/adapter"
)

// foreignScope says which events a foreign answer concerns; see [adapter.Attempt].Foreign.
type foreignScope uint8

const (
	// scopeUnknown: it is unknown.
	scopeUnknown foreignScope = iota
	// scopeEvent: this event alone. Others get proper answers.
	scopeEvent
	// scopeTenant: every event. None gets a proper answer.
	scopeTenant
)

const (
	// foreignRest is the default of BreakerOptions.ForeignRest.
	foreignRest = 10 * time.Second
	// foreignInARow is how many events must get foreign answers, with no proper answer in between,
	// until the tenant is taken for the cause. An event that is tried again and again counts once.
	foreignInARow = misconfiguredInARow
)

// foreignAnswers finds out which events foreign answers concern. Its knowledge ends with the
// process. It is safe for concurrent use.
type foreignAnswers struct {
	// rest is BreakerOptions.ForeignRest, 0 for none.
	rest time.Duration

	mu     sync.Mutex
	proper time.Time // when an event last got a proper answer, zero if none did
	// events are the first foreignInARow events with foreign answers since then.
	events [foreignInARow]uint64
	n      int
}

// add counts an attempt that ended now. The number identifies its event in this process, 0 if it is
// unknown.
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

// scope returns the scope of a foreign answer that was added now, to an event that has been tried
// since the given time.
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
