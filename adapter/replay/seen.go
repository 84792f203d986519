package replay

import (
	"hash/maphash"
	"math/bits"
)

// seenSet remembers events by a 128-bit hash of what tells them apart: open
// addressing in arrays of integers, 18 to 30 bytes an entry, so that millions of
// events take little and the garbage collector sees no pointers. It has parts that
// grow one by one, so that there is never much in use twice. Two events share a
// hash about never.
type seenSet struct {
	seeds [2]maphash.Seed
	parts [seenParts]seenPart
}

const seenParts = 64

// seenPart is a table that is filled up to seven eighths and then grows by half.
type seenPart struct {
	slots [][2]uint64
	used  int
}

const minSlots = 64

func newSeenSet() *seenSet {
	return &seenSet{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
}

const (
	// seenBytes is about what an entry takes.
	seenBytes = 27
	// packedEvent is about what an event takes in an archive, in bytes: Segment's events of
	// 1.3 KB pack 6:1.
	packedEvent = 220
)

// SeenMemory returns about how much memory [Count] and import files take to tell the events
// of an archive apart, of so many bytes as it is stored. An archive that is not packed has
// fewer events, and takes less. They are up to limit events that would be sent, all if it
// is 0.
func SeenMemory(stored, limit int64) int64 {
	events := stored / packedEvent
	if limit > 0 {
		events = min(events, limit)
	}
	return events * seenBytes
}

// add adds an event and reports whether it was there already. Identity is 0
// where the messageId alone counts.
func (s *seenSet) add(messageID string, identity int64) bool {
	hash := [2]uint64{
		maphash.String(s.seeds[0], messageID) ^ uint64(identity), maphash.String(s.seeds[1], messageID) + uint64(identity),
	}
	if hash == [2]uint64{} {
		hash[0] = 1 // zero marks a free slot
	}
	part := &s.parts[hash[1]%seenParts]
	if 8*part.used >= 7*len(part.slots) {
		part.grow()
	}
	if !part.put(hash) {
		return true
	}
	part.used++
	return false
}

// put returns false if the hash is there already.
func (p *seenPart) put(hash [2]uint64) bool {
	at, _ := bits.Mul64(hash[0], uint64(len(p.slots)))
	for {
		switch p.slots[at] {
		case [2]uint64{}:
			p.slots[at] = hash
			return true
		case hash:
			return false
		}
		if at++; at == uint64(len(p.slots)) {
			at = 0
		}
	}
}

func (p *seenPart) grow() {
	old := p.slots
	p.slots = make([][2]uint64, max(minSlots, len(old)+len(old)/2))
	for _, hash := range old {
		if hash != [2]uint64{} {
			p.put(hash)
		}
	}
}
