package store

import (
	"context"
	"database/sql"
	"time"

	"segment-saasquatch/adapter"
)

// readKind says what a read is for. Each kind has connections of its own, so that no kind
// waits for another.
type readKind int

const (
	// shortRead is for work whose size is bounded: operators' look-ups, replays and
	// retention.
	shortRead readKind = iota
	// leaseRead looks for due events.
	leaseRead
	// healthRead is for the metrics, and for what decides whether the store takes events.
	healthRead
	// longRead reads as much as the store holds.
	longRead
)

const (
	// longReads is how many long reads a process has under way at once.
	longReads = 2
	// longReadWait is how long another one waits. Default: 5 s.
	longReadWait = 5 * time.Second
	// longReadRetry is the time after which another try is worthwhile.
	longReadRetry = 10 * time.Second
)

// read runs fn on a snapshot. It may run it twice, see names.resolve, and so do the others.
func (s *Store) read(ctx context.Context, fn func(*sql.Tx) error) error {
	return s.names.resolve(ctx, func() error { return s.engine.read(ctx, shortRead, fn) })
}

// observe runs fn on a snapshot, for the metrics and the health of the store.
func (s *Store) observe(ctx context.Context, fn func(*sql.Tx) error) error {
	return s.names.resolve(ctx, func() error { return s.engine.read(ctx, healthRead, fn) })
}

// scan runs fn, which may read the whole store, on a snapshot. If too many do that already
// and none ends soon, it returns an [adapter.BusyError].
func (s *Store) scan(ctx context.Context, fn func(*sql.Tx) error) error {
	patience := time.NewTimer(s.longReadWait)
	defer patience.Stop()
	select {
	case s.longReads <- struct{}{}:
		defer func() { <-s.longReads }()
	case <-patience.C:
		return &adapter.BusyError{RetryAfter: longReadRetry}
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.names.resolve(ctx, func() error {
		return s.engine.read(ctx, longRead, func(tx *sql.Tx) error {
			s.scanning()
			return fn(tx)
		})
	})
}

// search runs fn on a snapshot. It is a short read where the table is read from its end, or
// where an index leads to few deliveries. Further pages are long reads, since an export may
// go through all of the store.
func (s *Store) search(ctx context.Context, filter *adapter.Filter, fn func(*sql.Tx) error) error {
	if filter.IDs != nil || filter.MessageID != "" || filter.PicksAll() {
		return s.read(ctx, fn)
	}
	return s.scan(ctx, fn)
}
