package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"segment-saasquatch/adapter"
)

// probeTimeout bounds the trial of a write. PostgreSQL is told of its end, so trials do not pile up there.
const probeTimeout = 10 * time.Second

// patience has the times after which a database counts as hanging.
type patience struct {
	// idle is the time without a successful transaction after which the store tries a write, if no transaction is
	// running. Default: 10 s.
	idle time.Duration
	// suspect is the same time if transactions are running. Default: 1 s.
	suspect time.Duration
	// hang is how long that trial may take before the database counts as hanging. Default: 3 s.
	hang time.Duration
	// check is the interval of these checks. Default: 1 s.
	check time.Duration
	// quiet is health.quiet. Default: 10 s.
	quiet time.Duration
}

var defaultPatience = patience{
	idle: 10 * time.Second, suspect: time.Second, hang: 3 * time.Second, check: watchInterval,
	quiet: 10 * time.Second,
}

// progress records whether transactions end.
type progress struct {
	mu      sync.Mutex
	running int
	// since is when the last transaction succeeded, or when the first of those running began, if that is later.
	since time.Time
}

func (p *progress) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running++; p.running == 1 {
		p.since = time.Now()
	}
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
}

// succeed records that the database has committed a transaction.
func (p *progress) succeed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = time.Now()
}

// still returns the time without a successful transaction, and whether transactions are running.
func (p *progress) still() (since time.Duration, busy bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.since), p.running > 0
}

// tryWrites tries a write while no transaction succeeds, so that the store's health is known without traffic too.
func (s *Store) tryWrites(ctx context.Context) {
	ticker := time.NewTicker(s.patience.check)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.health.checkQuiet()
			if s.suspicious() {
				s.tryWrite(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// suspicious reports whether the database should be tried. A store for operators' work does not try an idle database.
func (s *Store) suspicious() bool {
	since, busy := s.progress.still()
	return s.health.broken() || busy && since >= s.patience.suspect || !s.operators && since >= s.patience.idle
}

// tryWrite tries a write and records whether it succeeds.
func (s *Store) tryWrite(ctx context.Context) {
	began := time.Now()
	hanging := time.AfterFunc(s.patience.hang, func() {
		s.health.setHanging(&adapter.UnavailableError{
			Message: "the store does not answer",
			Err: fmt.Errorf("a write has not ended for %v: look for locks that other programs hold, "+
				"for a synchronous standby that is gone, and at the disk", s.patience.hang),
		})
	})
	defer hanging.Stop()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := s.engine.probe(ctx)
	switch {
	case s.stopped.Err() != nil: // the store is closing
	case err == nil:
		s.progress.succeed()
		s.health.set(nil)
	default:
		s.health.set(s.unavailable(err))
		if time.Since(began) < s.patience.hang {
			s.health.setHanging(nil) // it answers, though with an error
		}
	}
}
