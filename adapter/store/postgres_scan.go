package store

import (
	"sync"
	"time"
)

// Bounds of the look for due events from the beginning of the queue. It reads past the
// events that have left the queue, as long as VACUUM may not remove them, because of a
// transaction that was left open: after a million events that takes a second.
const (
	// cheapScan is what it may take at every lease.
	cheapScan = 50 * time.Millisecond
	// dearScan is what it may not take at every poll of a queue with nothing due.
	dearScan = 250 * time.Millisecond
	// scanShare bounds the share of the time that dearer ones take. Between them events may
	// be passed over that have come to be due earlier than others: those whose lease is over,
	// and those of transactions that took longer than lateCommit.
	scanShare = 0.1
	// lateCommit is how far behind the present the look begins at the latest.
	lateCommit = 10 * time.Second
)

// dueScan remembers how far the queue was found to have no more due events.
type dueScan struct {
	mu sync.Mutex
	// took is how long the last look from the beginning took, and ended when it ended.
	took  time.Duration
	ended time.Time
	// from is when the events are due that the next look begins with, 0 for all.
	from int64
}

// start returns where a look may begin, and false if that is the beginning of the queue.
func (s *dueScan) start() (from int64, ok bool) {
	rest := time.Duration(float64(s.took) / scanShare)
	return s.from, s.from > 0 && s.took > cheapScan && time.Since(s.ended) < rest
}

// isDear reports whether a look from the beginning has to wait for its time.
func (s *dueScan) isDear() bool { return s.took > dearScan }

// reach notes that no event is left that is due before last.
func (s *dueScan) reach(last, now int64) {
	s.from = max(s.from, min(last, now-lateCommit.Milliseconds()))
}

// end notes a look from the beginning.
func (s *dueScan) end(took time.Duration, last, now int64) {
	s.took, s.ended, s.from = took, time.Now(), 0
	s.reach(last, now)
}

// reset has the next look begin at the beginning: an event came back.
func (s *dueScan) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from = 0
}
