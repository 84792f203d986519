package store

import (
	"sync"
	"time"
)

// HeldLog tells of a reader that keeps SQLite's write-ahead log from beginning anew, so that
// it grows with every transaction.
type HeldLog struct {
	// Bytes is the size of the log.
	Bytes int64
	// For is how long the reader has held the log, 0 if none does any more.
	For time.Duration
	// Readers are the processes that have a transaction open, as far as the system tells.
	Readers []string
	// File is the index of the log. The readers have it locked.
	File string
}

const (
	// heldLogAfter is how long a reader holds the log before it is told of.
	heldLogAfter = time.Minute
	// heldLogRepeat is how often it is told of again.
	heldLogRepeat = 10 * time.Minute
)

// heldLogs tells of readers that hold the log.
type heldLogs struct {
	onChange func(HeldLog)
	after    time.Duration

	mu   sync.Mutex
	told time.Time // the zero time if there is nothing to take back
}

// LogSize returns the size of SQLite's write-ahead log in bytes, and how long a reader has
// kept it from beginning anew. Known is false with PostgreSQL.
func (s *Store) LogSize() (bytes int64, held time.Duration, known bool) {
	log, known := s.engine.heldLog(false)
	return log.Bytes, log.For, known
}

// watchLog tells of a reader that holds the log, and of its end.
func (s *Store) watchLog() {
	log, known := s.engine.heldLog(false)
	if !known {
		return
	}
	h := &s.heldLogs
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case log.For >= h.after && (h.told.IsZero() || time.Since(h.told) >= heldLogRepeat):
		h.told = time.Now()
		log, _ = s.engine.heldLog(true)
		h.onChange(log)
	case log.For == 0 && !h.told.IsZero():
		h.told = time.Time{}
		h.onChange(log)
	}
}
