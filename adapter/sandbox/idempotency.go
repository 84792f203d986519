package sandbox

import (
	"hash/maphash"
	"time"
)

// keyWindow is how long the sandbox remembers an idempotency key after its first receipt. SaaSquatch's documentation
// of idempotency says 24 hours, its API definition at least 24 hours. So a client must expect a second processing from
// the end of the 24th hour on.
const keyWindow = 24 * time.Hour

// keyMemory remembers the idempotency keys of one tenant for [keyWindow]. It has no limit and takes about 60 bytes a
// key. It holds a 128-bit hash instead of the key, so that the garbage collector has nothing to scan.
type keyMemory struct {
	seeds [2]maphash.Seed
	uses  map[keyHash]keyUse
	order queue[keyArrival]
}

type keyHash [2]uint64

// keyUse is the first receipt of a key.
type keyUse struct {
	received int64 // Unix time in nanoseconds
	// processed is false if the attempt failed and used up the key.
	processed bool
}

type keyArrival struct {
	hash     keyHash
	received int64
}

func newKeyMemory(seeds [2]maphash.Seed) keyMemory {
	return keyMemory{seeds: seeds, uses: make(map[keyHash]keyUse)}
}

func (m *keyMemory) hash(key string) keyHash {
	return keyHash{maphash.String(m.seeds[0], key), maphash.String(m.seeds[1], key)}
}

// seen returns the use of a key within the window before now.
func (m *keyMemory) seen(key string, now time.Time) (keyUse, bool) {
	use, ok := m.uses[m.hash(key)]
	if !ok || expired(use.received, now) {
		return keyUse{}, false
	}
	return use, true
}

// add remembers a new key, and forgets expired keys.
func (m *keyMemory) add(key string, now time.Time, processed bool) {
	m.expire(now)
	hash, received := m.hash(key), now.UnixNano()
	m.uses[hash] = keyUse{received: received, processed: processed}
	m.order.push(keyArrival{hash: hash, received: received})
}

func (m *keyMemory) expire(now time.Time) {
	for m.order.length > 0 && expired(m.order.at(0).received, now) {
		gone := m.order.pop()
		// If the clock was set back, the key may have been added again.
		if m.uses[gone.hash].received == gone.received {
			delete(m.uses, gone.hash)
		}
	}
}

func expired(received int64, now time.Time) bool {
	return now.UnixNano()-received >= int64(keyWindow)
}

const (
	minKeyLength = 8
	maxKeyLength = 64
)

// validKey reports whether a text is an idempotency key by SaaSquatch's published rules: 8 to 64 characters, each an
// ASCII letter, an ASCII digit, '.', '-' or '_'.
func validKey[Text string | []byte](key Text) bool {
	if len(key) < minKeyLength || len(key) > maxKeyLength {
		return false
	}
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
