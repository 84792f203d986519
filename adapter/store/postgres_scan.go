package store

import (
	"sync"
	"time"
)

// Bounds of the look-up of due events from the beginning of the queue. It reads past the events that have left the
// queue, as long as VACUUM may not remove them because of an open transaction. After a million events that takes a
// second.
const (
	// fastScan is how long it may take at every lease.
	fastScan = 50 * time.Millisecond
	// slowScan is longer than it may take at every poll of a queue with no due event.
	slowScan = 250 * time.Millisecond
	// scanShare bounds the share of the time that longer ones take. Between them, the look-up may miss events that
	// became due earlier than others: after the end of a lease, or by a transaction that took longer than lateCommit.
	scanShare = 0.1
	// lateCommit is how far before the present the look-up begins at the latest.
	lateCommit = 10 * time.Second
)

// dueScan records up to which due time the queue has no more due events.
type dueScan struct {
	mu sync.Mutex
	// took is how long the last look-up from the beginning took, and ended when it ended.
	took  time.Duration
	ended time.Time
	// from is the due time at which the next look-up begins, 0 for the beginning.
	from int64
}

// start returns the due time at which a look-up may begin, and false if it has to begin at the beginning of the
// queue.
func (s *dueScan) start() (from int64, ok bool) {
	rest := time.Duration(float64(s.took) / scanShare)
	return s.from, s.from > 0 && s.took > fastScan && time.Since(s.ended) < rest
}

// isSlow reports whether a look-up from the beginning has to wait.
func (s *dueScan) isSlow() bool { return s.took > slowScan }

// reach records that no event is left that is due before last.
func (s *dueScan) reach(last, now int64) {
	s.from = max(s.from, min(last, now-lateCommit.Milliseconds()))
}

// end records a look-up from the beginning.
func (s *dueScan) end(took time.Duration, last, now int64) {
	s.took, s.ended, s.from = took, time.Now(), 0
	s.reach(last, now)
}

// reset makes the next look-up begin at the beginning: an event came back.
func (s *dueScan) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from = 0
}
