package delivery

import "testing"

func TestRecentSetForgetsTheOldest(t *testing.T) {
	const size = 100
	s := newRecentSet(size)
	for i := range uint64(10 * size) {
		s.add(cacheKey{i, i})
		if first := i + 1 - min(i+1, size); !s.contains(cacheKey{first, first}) || !s.contains(cacheKey{i, i}) {
			t.Fatalf("after %d members, one of the last %d is gone", i+1, size)
		}
	}
	if s.contains(cacheKey{0, 0}) || len(s.young)+len(s.old) > 2*size {
		t.Errorf("%d members are kept", len(s.young)+len(s.old))
	}
	last := cacheKey{10*size - 1, 10*size - 1}
	s.remove(last)
	if s.contains(last) {
		t.Error("a member that was removed is there")
	}
}
