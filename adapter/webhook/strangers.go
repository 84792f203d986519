package webhook

import (
	"container/list"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// strangers is the memory of bodies whose senders have shown no credential yet. Where
// the signature is the only one, each request begins as a stranger's, and Segment's
// cease to be it within milliseconds: with the first event of a batch.
//
// At the bound a body takes the memory of the oldest one: for its beginning in any case,
// for more if the oldest is evictAge old. So strangers that stall keep no sender away. The
// hole: an eviction counts at once, although the buffer is freed a moment later.
type strangers struct {
	size int64
	// share is the most that one remote address holds. It takes from its own oldest body.
	share int64

	mu     sync.Mutex
	used   int64
	shares map[netip.Addr]int64
	coming list.List // of *stranger, the oldest first; without those that have come whole
}

const (
	// beginning is how much of a body is enough to verify the first event of a batch, in
	// bytes. Segment's events have 32 KB at most.
	beginning = 64 << 10
	// evictAge protects bodies that come without a pause from each other.
	evictAge = 250 * time.Millisecond
)

// stranger is the body of one request among strangers.
type stranger struct {
	remote     netip.Addr
	connection *http.ResponseController
	began      time.Time
	reserved   int64         // guarded by strangers.mu
	element    *list.Element // guarded by strangers.mu; nil unless it is coming
	evicted    atomic.Bool
}

func newStrangers(size, one int64) strangers {
	return strangers{size: size, share: max(size/2, one), shares: make(map[netip.Addr]int64)}
}

// newStranger returns the body of a request from remote. A network of 64 bits counts as
// one address in IPv6, where a host has as many as it likes.
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
	age := evictAge
	if s.reserved+n <= beginning+gzipMemory {
		age = 0
	}
	for ss.shares[s.remote]+n > ss.share {
		if !ss.evict(s, now.Add(-age), func(other *stranger) bool { return other.remote == s.remote }) {
			return errStrangers
		}
	}
	for ss.used+n > ss.size {
		if !ss.evict(s, now.Add(-age), func(*stranger) bool { return true }) {
			return errStrangers
		}
	}
	if s.element == nil {
		s.element = ss.coming.PushBack(s)
	}
	ss.add(s, n)
	return nil
}

// evict takes the memory of the oldest body that is like, if it began before latest. It
// takes none for s from a younger one than s.
func (ss *strangers) evict(s *stranger, latest time.Time, like func(*stranger) bool) bool {
	for e := ss.coming.Front(); e != nil; e = e.Next() {
		oldest := e.Value.(*stranger)
		if oldest == s || oldest.began.After(latest) {
			return false
		}
		if like(oldest) {
			ss.forget(oldest)
			oldest.evicted.Store(true)
			_ = oldest.connection.SetReadDeadline(time.Unix(1, 0)) // ends its read
			return true
		}
	}
	return false
}

// complete says that s has come whole, so that its connection is left alone. Its memory
// stays reserved.
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

// leave gives back what s has reserved. It fails if s was evicted.
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
