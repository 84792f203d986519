package delivery

import "sync"

// underwaySet is the events with an attempt under way. It holds no more of them
// than attempts may be under way at once.
type underwaySet struct {
	mu    sync.Mutex
	ended map[fingerprint]chan struct{} // nil until somebody waits
}

func newUnderwaySet() *underwaySet {
	return &underwaySet{ended: make(map[fingerprint]chan struct{})}
}

// add returns false if the event is in the set already.
func (s *underwaySet) add(f fingerprint) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.ended[f]; ok {
		return false
	}
	s.ended[f] = nil
	return true
}

// remove takes the event out of the set and lets those go on who wait for that.
func (s *underwaySet) remove(f fingerprint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ended := s.ended[f]; ended != nil {
		close(ended)
	}
	delete(s.ended, f)
}

// done returns a channel that is closed when the event is removed, nil if it is
// not in the set.
func (s *underwaySet) done(f fingerprint) <-chan struct{} {
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
