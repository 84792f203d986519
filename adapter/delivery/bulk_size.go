package delivery

import (
	"sync"

	"segment-saasquatch/adapter"
)

// bulkSize is how many items a bulk call may have. It gets smaller when SaaSquatch refuses a call and
// takes both halves of it, and larger again with the calls that succeed. It stays at least 2: with 1
// there would be no call to show that SaaSquatch takes more. It is safe for concurrent use.
type bulkSize struct {
	mu   sync.Mutex
	most int
}

func newBulkSize() bulkSize { return bulkSize{most: adapter.MaxBulk} }

func (s *bulkSize) now() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// halved notes that a call of n items was refused, and its halves were not.
func (s *bulkSize) halved(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = min(s.most, max(2, (n+1)/2))
}

// passed notes that a call of n items was not refused for its size.
func (s *bulkSize) passed(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n >= s.most {
		s.most = min(adapter.MaxBulk, s.most+1)
	}
}
