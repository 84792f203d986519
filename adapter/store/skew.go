package store

import (
	"context"
	"sync"
	"time"
)

// MaxSkew is the skew between the clocks of a process and of the database, in either direction, beyond which
// [Options].OnSkew is called. Leases end by the database's clock alone, so skew delivers nothing twice. But each
// process puts events back until a time of its own clock, and counts the 24 h of a key by it.
const MaxSkew = 5 * time.Second

// skewTimeout is the longest time of a query for the clock whose answer counts.
const skewTimeout = time.Second

// skew records how far the process's clock is ahead of the database's.
type skew struct {
	onChange  func(time.Duration)
	measuring sync.Mutex // held during a measurement, so that measurements are recorded in order

	mu     sync.Mutex
	ahead  time.Duration
	beyond bool // MaxSkew, and onChange was called
}

// Skew returns how far the clock of this process is ahead of the database's, negative if
// it is behind. It is measured every second. With SQLite it is 0.
func (s *Store) Skew() time.Duration {
	s.skew.mu.Lock()
	defer s.skew.mu.Unlock()
	return s.skew.ahead
}

// measureSkew compares the clocks.
func (s *Store) measureSkew(ctx context.Context) error {
	s.skew.measuring.Lock()
	defer s.skew.measuring.Unlock()
	before := s.now()
	database, known, err := s.engine.clock(ctx)
	if err != nil || !known {
		return err
	}
	took := s.now().Sub(before)
	if took < 0 || took > skewTimeout {
		return nil // too imprecise
	}
	s.skew.set(before.Add(took / 2).Sub(database))
	return nil
}

// set records a measurement, and reports one that crosses MaxSkew.
func (k *skew) set(ahead time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ahead = ahead
	if beyond := ahead.Abs() > MaxSkew; beyond != k.beyond {
		k.beyond = beyond
		k.onChange(ahead)
	}
}
