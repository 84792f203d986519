package delivery

import "sync"

// cacheKey stands for an event; two events share one about never.
type cacheKey [2]uint64

// recentSet is a set that forgets its oldest members. It barriers no pointers, so
// that a large one costs the garbage collector nothing; a cache from a library
// took a tenth of the adapter's time in that.
type recentSet struct {
	size int // of each generation

	mu         sync.Mutex
	young, old map[cacheKey]struct{}
}

// newRecentSet returns a set that remembers the last size members at least, and
// twice as many at most.
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
