package delivery

import "sync"

// inFlightSet is the events with an attempt in flight. It has no more of them than attempts may be
// in flight at once.
type inFlightSet struct {
	mu    sync.Mutex
	ended map[cacheKey]chan struct{} // nil until a caller waits
}

func newInFlightSet() *inFlightSet {
	return &inFlightSet{ended: make(map[cacheKey]chan struct{})}
}

// add returns false if the event is in the set already.
func (s *inFlightSet) add(f cacheKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.ended[f]; ok {
		return false
	}
	s.ended[f] = nil
	return true
}

// remove takes the event out of the set and wakes the callers that wait for that.
func (s *inFlightSet) remove(f cacheKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ended := s.ended[f]; ended != nil {
		close(ended)
	}
	delete(s.ended, f)
}

// done returns a channel that is closed when the event is removed, nil if it is not in the set.
func (s *inFlightSet) done(f cacheKey) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended, ok := s.ended[f]
	switch {
	case !ok:
		return nil
	case ended == nil:
		ended = make(chan struct{})
		s.ended[f] = ended
	}
	return ended
}
