package store

import (
	"context"
	"slices"
	"sync"
	"time"

	"segment-saasquatch/adapter"
)

// health records whether the store accepts and delivers events, as far as is known.
type health struct {
	onChange func(error)
	// quiet is how long the store has to work before onChange learns of it, if the store had failed again within that
	// time: a store that flaps is reported once.
	quiet time.Duration

	mu      sync.Mutex
	hanging *adapter.UnavailableError // nil if the database answers
	fault   *adapter.UnavailableError // of the database; nil if it works
	full    *adapter.UnavailableError // nil if the disk has its reserve

	reported []string  // the reported messages of this outage; none if the store works
	flapping bool      // it failed soon after it had recovered
	works    time.Time // since when; zero if it fails
}

// err returns the worst fault, nil if the store works.
func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if worst := h.worst(); worst != nil {
		return worst
	}
	return nil
}

// refuses returns an error while the database hangs: an event would only wait.
func (h *health) refuses() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hanging != nil {
		return h.hanging
	}
	return nil
}

func (h *health) worst() *adapter.UnavailableError {
	if h.hanging != nil {
		return h.hanging
	}
	if h.fault != nil {
		return h.fault
	}
	return h.full
}

// broken reports whether the database fails or hangs.
func (h *health) broken() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hanging != nil || h.fault != nil
}

// set records the state of the database. A database that works does not hang.
func (h *health) set(fault *adapter.UnavailableError) {
	h.change(func() {
		if h.fault = fault; fault == nil {
			h.hanging = nil
		}
	})
}

// setHanging records whether the database hangs.
func (h *health) setHanging(hanging *adapter.UnavailableError) {
	h.change(func() { h.hanging = hanging })
}

// setFull records the state of the disk.
func (h *health) setFull(full *adapter.UnavailableError) { h.change(func() { h.full = full }) }

// change records a state and reports changes in order.
func (h *health) change(record func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	record()
	is := h.worst()
	if is == nil {
		if len(h.reported) > 0 && h.works.IsZero() {
			h.works = time.Now()
			h.settle()
		}
		return
	}
	if len(h.reported) == 0 {
		h.flapping = !h.works.IsZero() && time.Since(h.works) < h.quiet
	}
	h.works = time.Time{}
	if !slices.Contains(h.reported, is.Message) {
		h.reported = append(h.reported, is.Message)
		h.onChange(is)
	}
}

// settle reports that the store works again, after the quiet time for a store that flaps. The caller holds mu.
func (h *health) settle() {
	if len(h.reported) == 0 || h.works.IsZero() || h.flapping && time.Since(h.works) < h.quiet {
		return
	}
	h.reported = nil
	h.onChange(nil)
}

// checkQuiet is settle for callers that do not hold mu.
func (h *health) checkQuiet() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settle()
}

const (
	watchInterval  = time.Second
	measureTimeout = 5 * time.Second
)

// watch measures the backlog, the log and the clocks periodically, since other processes change them too. If it finds
// a fault of the database, the next successful write ends the fault; see tryWrites.
func (s *Store) watch(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.examine(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (s *Store) examine(ctx context.Context) {
	s.watchLog()
	ctx, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	err := s.engine.check()
	if err == nil {
		err = s.measure(ctx)
	}
	if err == nil {
		err = s.measureSkew(ctx)
	}
	if err == nil || s.stopped.Err() != nil { // the store is closing
		return
	}
	s.health.set(s.unavailable(err))
}

// unavailable explains an error of an access that should have succeeded.
func (s *Store) unavailable(err error) *adapter.UnavailableError {
	if unavailable := s.engine.explain(err); unavailable != nil {
		return unavailable
	}
	return &adapter.UnavailableError{Message: "the store does not answer", Err: err}
}

// explained returns what the caller of a method learns of an error: the fault of the database with its remedy, if a
// fault of the database is the cause, or else the error with the action that failed. It returns nil for nil.
func (s *Store) explained(action string, err error) error {
	if unavailable := s.engine.explain(err); unavailable != nil {
		return unavailable
	}
	return wrap(action, err)
}
