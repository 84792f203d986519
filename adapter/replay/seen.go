package replay

import (
	"hash/maphash"
)

// seenSet remembers events by a 128-bit hash of what tells them apart: open
// addressing in two arrays of integers, 16 bytes an entry and at most two thirds
// full, so that millions of events take little and the garbage collector sees no
// pointers. Two events share a hash about never.
type seenSet struct {
	seeds [2]maphash.Seed
	slots [][2]uint64
	used  int
}

const minSlots = 1 << 12

func newSeenSet() *seenSet {
	return &seenSet{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, slots: make([][2]uint64, minSlots)}
}

// add adds an event and reports whether it was there already. Fingerprint is 0
// where the messageId alone counts.
func (s *seenSet) add(messageID string, fingerprint int64) bool {
	hash := [2]uint64{maphash.String(s.seeds[0], messageID) ^ uint64(fingerprint), maphash.String(s.seeds[1], messageID) + uint64(fingerprint)}
	if hash == [2]uint64{} {
		hash[0] = 1 // zero marks a free slot
	}
	if 3*s.used >= 2*len(s.slots) {
		s.grow()
	}
	if !put(s.slots, hash) {
		return true
	}
	s.used++
	return false
}

// put returns false if the hash is there already.
func put(slots [][2]uint64, hash [2]uint64) bool {
	mask := uint64(len(slots) - 1)
	for i := hash[0] & mask; ; i = (i + 1) & mask {
		switch slots[i] {
		case [2]uint64{}:
			slots[i] = hash
			return true
		case hash:
			return false
		}
	}
}

func (s *seenSet) grow() {
	larger := make([][2]uint64, 2*len(s.slots))
	for _, hash := range s.slots {
		if hash != [2]uint64{} {
			put(larger, hash)
		}
	}
	s.slots = larger
}
