package store

import (
	"context"
	"sync"
	"time"

	"segment-saasquatch/adapter"
)

// health is whether events can be accepted and delivered, as far as is known.
type health struct {
	onChange func(error)

	mu    sync.Mutex
	fault *adapter.UnavailableError // of the database; nil if it works
	full  *adapter.UnavailableError // nil if the disk has its reserve
}

// err returns what keeps events from being accepted.
func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if worst := h.worst(); worst != nil {
		return worst
	}
	return nil
}

func (h *health) worst() *adapter.UnavailableError {
	if h.fault != nil {
		return h.fault
	}
	return h.full
}

// broken reports whether the database is out of order.
func (h *health) broken() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fault != nil
}

// set records the state of the database.
func (h *health) set(fault *adapter.UnavailableError) { h.change(&h.fault, fault) }

// setFull records the state of the disk.
func (h *health) setFull(full *adapter.UnavailableError) { h.change(&h.full, full) }

// change records a state and tells of changes, in their order.
func (h *health) change(state **adapter.UnavailableError, to *adapter.UnavailableError) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.worst()
	*state = to
	switch is := h.worst(); {
	case is == nil && was != nil:
		h.onChange(nil)
	case is != nil && (was == nil || was.Message != is.Message):
		h.onChange(is)
	}
}

const (
	watchInterval = time.Second
	probeTimeout  = 5 * time.Second
)

// watch measures the backlog and the clocks now and then, since other processes change it too,
// and finds out when a database that was out of order works again.
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
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := s.engine.check()
	if err == nil {
		err = s.measure(ctx)
	}
	if err == nil {
		err = s.measureSkew(ctx)
	}
	if err == nil && s.health.broken() {
		err = s.engine.probe(ctx)
	}
	switch {
	case ctx.Err() != nil && s.stopped.Err() != nil: // the store is being closed
	case err == nil:
		s.health.set(nil)
	default:
		unavailable := s.engine.explain(err)
		if unavailable == nil {
			unavailable = &adapter.UnavailableError{Message: "the store does not answer", Err: err}
		}
		s.health.set(unavailable)
	}
}
