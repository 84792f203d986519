package store

import (
	"context"
	"sync"
	"time"

	"segment-saasquatch/adapter"
)

// health is whether the database works, as far as is known.
type health struct {
	onChange func(error)

	mu    sync.Mutex
	fault *adapter.UnavailableError // nil if the database works
}

func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fault == nil {
		return nil
	}
	return h.fault
}

// set records the present state and tells of changes, in their order.
func (h *health) set(fault *adapter.UnavailableError) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.fault
	h.fault = fault
	switch {
	case fault == nil && was != nil:
		h.onChange(nil)
	case fault != nil && (was == nil || was.Message != fault.Message):
		h.onChange(fault)
	}
}

const (
	watchInterval = time.Second
	probeTimeout  = 5 * time.Second
)

// watch measures the backlog now and then, since other processes change it too,
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
	if err == nil && s.Ready() != nil {
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
