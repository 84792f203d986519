package webhook

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// outageEvery is the time between two lines in the log about one outage.
	outageEvery = time.Minute
	// outageQuiet is the time since the last refused request after which an accepted one ends the outage. So a store
	// that flaps has one outage.
	outageQuiet = 10 * time.Second
)

// outage is a time in which the store refuses events. Its requests share lines in the log; only the first has its own.
type outage struct {
	mu               sync.Mutex
	began            time.Time // zero if there is none
	last             time.Time // when a request was refused
	told             time.Time // when the log had a line
	requests, events int
}

// refused counts a request that the store has refused. It returns whether the request is the first of an outage.
func (o *outage) refused(log *zap.Logger, events int, message string) (first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if first = o.began.IsZero(); first {
		o.began, o.told, o.requests, o.events = now, now, 0, 0
	}
	o.last = now
	o.requests++
	o.events += events
	if now.Sub(o.told) >= outageEvery {
		o.told = now
		log.Warn("the store still refuses events", append(o.fields(now), zap.String("message", message))...)
	}
	return first
}

// accepted ends an outage, unless it flaps.
func (o *outage) accepted(log *zap.Logger) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); !o.began.IsZero() && now.Sub(o.last) >= outageQuiet {
		log.Info("the store accepts events again", o.fields(o.last)...)
		o.began = time.Time{}
	}
}

func (o *outage) fields(until time.Time) []zap.Field {
	return []zap.Field{
		zap.Int("requests", o.requests), zap.Int("events", o.events), zap.Time("since", o.began),
		zap.Duration("duration_ms", until.Sub(o.began)),
	}
}
