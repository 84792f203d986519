package replay

import (
	"hash/maphash"
	"math/bits"
)

// seenSet is a set of events by a 128-bit hash of the messageId and the identity. Two events share a hash about
// never. It is a hash table with open addressing, without pointers for the garbage collector, of 18 to 30 bytes
// an entry. Its parts grow one by one, so that growing needs little extra memory. A Go map takes twice the memory
// and more time: see BenchmarkSeen.
type seenSet struct {
	seeds [2]maphash.Seed
	parts [seenParts]seenPart
}

const seenParts = 64

// seenPart is a table. At a load of seven eighths it grows by half.
type seenPart struct {
	slots [][2]uint64
	used  int
}

const minSlots = 64

func newSeenSet() *seenSet {
	return &seenSet{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
}

const (
	// seenBytes is about the size of an entry.
	seenBytes = 27
	// packedEvent is about the size of an event in an archive, in bytes: Segment's events of 1.3 KB pack 6:1.
	packedEvent = 220
)

// SeenMemory estimates the memory that [Count] and [WriteFiles] need to find duplicates, in bytes. Stored is the
// size of the archive as it is stored. An archive that is not packed has fewer events, and needs less. Limit is
// the largest number of events that would be sent, 0 for all.
func SeenMemory(stored, limit int64) int64 {
	events := stored / packedEvent
	if limit > 0 {
		events = min(events, limit)
	}
	return events * seenBytes
}

// add adds an event and reports whether the set had it. Identity is 0 where the messageId alone counts.
func (s *seenSet) add(messageID string, identity int64) bool {
	hash := [2]uint64{
		maphash.String(s.seeds[0], messageID) ^ uint64(identity),
		maphash.String(s.seeds[1], messageID) + uint64(identity),
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

// put returns false if the part has the hash.
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
