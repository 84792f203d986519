package delivery

import "sync"

// cacheKey identifies an event. Two events practically never share one.
type cacheKey [2]uint64

// recentSet is a set that forgets its oldest members. It has no pointers, so that a large one costs
// the garbage collector nothing. A cache from a library took a tenth of the adapter's time in the
// garbage collector.
type recentSet struct {
	size int // of each generation

	mu         sync.Mutex
	young, old map[cacheKey]struct{}
}

// newRecentSet returns a set that remembers at least the last size members, and at most twice as
// many.
func newRecentSet(size int) *recentSet {
	return &recentSet{size: size, young: make(map[cacheKey]struct{})}
}

func (s *recentSet) add(f cacheKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.young) >= s.size {
		s.old, s.young = s.young, make(map[cacheKey]struct{}, s.size)
	}
	s.young[f] = struct{}{}
}

func (s *recentSet) remove(f cacheKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.young, f)
	delete(s.old, f)
}

func (s *recentSet) contains(f cacheKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.young[f]; ok {
		return true
	}
	_, ok := s.old[f]
	return ok
}
