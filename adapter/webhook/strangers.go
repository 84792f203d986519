package webhook

import (
	"container/list"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// strangers is the memory of bodies whose senders are not verified yet. Where the signature is the only credential,
// each request begins as a stranger. Segment's requests are verified within milliseconds, by the first event of a
// batch.
//
// At the limit a body evicts the oldest one: always for its beginning, and for more if the oldest is evictAge old. So
// strangers that stall keep no sender away. The hole: an eviction counts at once, although the buffer is freed a
// moment later.
type strangers struct {
	size int64
	// share bounds the memory of one remote address. At this limit it evicts its own oldest body.
	share int64

	mu     sync.Mutex
	used   int64
	shares map[netip.Addr]int64
	coming list.List // of *stranger, the oldest first; without complete bodies
}

const (
	// beginning is the part of a body that is enough to verify the first event of a batch, in bytes. Segment's events
	// have 32 KB at most.
	beginning = 64 << 10
	// evictAge protects bodies that arrive without a pause from each other.
	evictAge = 250 * time.Millisecond
)

// stranger is the body of one request among strangers.
type stranger struct {
	remote     netip.Addr
	connection *http.ResponseController
	began      time.Time
	reserved   int64         // guarded by strangers.mu
	element    *list.Element // guarded by strangers.mu; nil unless the body is arriving
	evicted    atomic.Bool
}

func newStrangers(size, one int64) strangers {
	return strangers{size: size, share: max(size/2, one), shares: make(map[netip.Addr]int64)}
}

// newStranger returns the body of a request from remote. In IPv6 a network of 64 bits counts as one address, because a
// host may have any number in it.
func newStranger(remote netip.Addr, connection *http.ResponseController, began time.Time) *stranger {
	remote = remote.Unmap()
	if remote.Is6() {
		if network, err := remote.WithZone("").Prefix(64); err == nil {
			remote = network.Addr()
		}
	}
	return &stranger{remote: remote, connection: connection, began: began}
}

func (s *stranger) isEvicted() bool { return s != nil && s.evicted.Load() }

// grow reserves n more bytes for s.
func (ss *strangers) grow(s *stranger, n int64, now time.Time) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s.evicted.Load() {
		return errStrangers
	}
	latest := now.Add(-evictAge)
	if s.reserved+n <= beginning+gzipMemory {
		latest = now
	}
	for ss.shares[s.remote]+n > ss.share || ss.used+n > ss.size {
		own := ss.shares[s.remote]+n > ss.share
		if !ss.evict(s, latest, func(other *stranger) bool { return !own || other.remote == s.remote }) {
			return errStrangers
		}
	}
	if s.element == nil {
		s.element = ss.coming.PushBack(s)
	}
	ss.add(s, n)
	return nil
}

// evict evicts the oldest body that may go, if it began no later than latest. It evicts no younger body than s.
func (ss *strangers) evict(s *stranger, latest time.Time, mayGo func(*stranger) bool) bool {
	for e := ss.coming.Front(); e != nil; e = e.Next() {
		oldest := e.Value.(*stranger)
		if oldest == s || oldest.began.After(latest) {
			return false
		}
		if mayGo(oldest) {
			ss.forget(oldest)
			oldest.evicted.Store(true)
			_ = oldest.connection.SetReadDeadline(time.Unix(1, 0)) // ends its read
			return true
		}
	}
	return false
}

// complete marks s as complete, after which it cannot be evicted. Its memory stays reserved.
func (ss *strangers) complete(s *stranger) error {
	if s == nil {
		return nil
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s.evicted.Load() {
		return errStrangers
	}
	ss.unlist(s)
	return nil
}

// leave releases the reservation of s. It fails if s was evicted.
func (ss *strangers) leave(s *stranger) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s.evicted.Load() {
		return errStrangers
	}
	ss.forget(s)
	return nil
}

func (ss *strangers) forget(s *stranger) {
	ss.unlist(s)
	ss.add(s, -s.reserved)
}

func (ss *strangers) unlist(s *stranger) {
	if s.element != nil {
		ss.coming.Remove(s.element)
		s.element = nil
	}
}

func (ss *strangers) add(s *stranger, n int64) {
	s.reserved += n
	ss.used += n
	if ss.shares[s.remote] += n; ss.shares[s.remote] == 0 {
		delete(ss.shares, s.remote)
	}
}
