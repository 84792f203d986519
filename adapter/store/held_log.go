package store

import (
	"sync"
	"time"
)

// HeldLog describes a reader that keeps SQLite's write-ahead log from restarting, so that it grows with every
// transaction.
type HeldLog struct {
	// Bytes is the size of the log.
	Bytes int64
	// For is how long the reader has held the log, 0 if no reader holds it any more.
	For time.Duration
	// Readers are the processes with an open transaction, if the system lists them.
	Readers []string
	// File is the index of the log. The readers have it locked.
	File string
}

const (
	// heldLogAfter is how long a reader holds the log before it is reported.
	heldLogAfter = time.Minute
	// heldLogRepeat is the time between two reports.
	heldLogRepeat = 10 * time.Minute
)

// heldLogs reports readers that hold the log.
type heldLogs struct {
	onChange func(HeldLog)
	after    time.Duration

	mu       sync.Mutex
	reported time.Time // when a reader was last reported, zero if no reader was
}

// LogSize returns the size of SQLite's write-ahead log in bytes, and how long a reader has kept it from restarting.
// Known is false for PostgreSQL.
func (s *Store) LogSize() (bytes int64, held time.Duration, known bool) {
	log, known := s.engine.heldLog(false)
	return log.Bytes, log.For, known
}

// watchLog reports a reader that holds the log, and its end.
func (s *Store) watchLog() {
	log, known := s.engine.heldLog(false)
	if !known {
		return
	}
	h := &s.heldLogs
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case log.For >= h.after && (h.reported.IsZero() || time.Since(h.reported) >= heldLogRepeat):
		h.reported = time.Now()
		log, _ = s.engine.heldLog(true)
		h.onChange(log)
	case log.For == 0 && !h.reported.IsZero():
		h.reported = time.Time{}
		h.onChange(log)
	}
}
