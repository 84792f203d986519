package store

import (
	"context"
	"database/sql"
	"time"

	"segment-saasquatch/adapter"
)

// readKind is the purpose of a read. Each kind has connections of its own, so that no kind waits for another.
type readKind int

const (
	// shortRead is for work of bounded size: operators' look-ups, replays and retention.
	shortRead readKind = iota
	// leaseRead looks for due events.
	leaseRead
	// healthRead is for the metrics, and for checks whether the store takes events.
	healthRead
	// longRead reads up to the whole store.
	longRead
)

const (
	// longReads is the number of long reads that a process runs at once.
	longReads = 2
	// longReadWait is how long another long read waits. Default: 5 s.
	longReadWait = 5 * time.Second
	// longReadRetry is the time after which another try is useful.
	longReadRetry = 10 * time.Second
)

// read runs fn on a snapshot. It may run fn twice, see names.resolve; so may observe, scan and search.
func (s *Store) read(ctx context.Context, fn func(*sql.Tx) error) error {
	return s.names.resolve(ctx, func() error { return s.engine.read(ctx, shortRead, fn) })
}

// observe runs fn on a snapshot, for the metrics and the health of the store.
func (s *Store) observe(ctx context.Context, fn func(*sql.Tx) error) error {
	return s.names.resolve(ctx, func() error { return s.engine.read(ctx, healthRead, fn) })
}

// scan runs fn, which may read the whole store, on a snapshot. If too many long reads run and none ends soon, it
// returns an [adapter.BusyError].
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

// search runs fn on a snapshot. The read is short if it reads the table from its end, or if an index finds few
// deliveries. Other searches are long reads, since an export may read the whole store.
func (s *Store) search(ctx context.Context, filter *adapter.Filter, fn func(*sql.Tx) error) error {
	if filter.IDs != nil || filter.MessageID != "" || filter.PicksAll() {
		return s.read(ctx, fn)
	}
	return s.scan(ctx, fn)
}
