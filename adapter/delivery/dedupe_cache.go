package delivery

import (
	"hash/maphash"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// dedupeEvents is how many events of each kind a Retrier remembers at least, in
// about 10 MB. Segment's largest batch has 4000.
const dedupeEvents = 100_000

// memory is what a Retrier knows of events that Segment may send again. It is
// lost with the process.
//
// Delivered events are remembered because Segment sends a whole request again for
// one event that failed. Without that, a redelivery would ask SaaSquatch about
// every event of the batch once more, and could fail on another one each time;
// and SaaSquatch would take those without an idempotency key twice.
//
// Failed attempts are remembered so that a later 409 can be told from an
// ordinary one.
//
// Attempts under way are remembered because Segment may give up on a request and
// send it again before they end.
type dedupeCache struct {
	seeds    [2]maphash.Seed
	passed   *recentSet   // of events
	failed   *recentSet   // of idempotency keys
	inFlight *inFlightSet // of events
}

func newDedupeCache() *dedupeCache {
	return &dedupeCache{
		seeds:    newSeeds(),
		passed:   newRecentSet(dedupeEvents),
		failed:   newRecentSet(dedupeEvents),
		inFlight: newInFlightSet(),
	}
}

// newSeeds returns the seeds of the two halves of a cacheKey.
func newSeeds() [2]maphash.Seed { return [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()} }

// keyOfEvent tells an event from others. A messageId that is no key is often
// not unique: there the identity decides, as in a ledger, so that an expression that
// yields something else each time does not hide a redelivery. Beside a key it is what
// would be sent: SaaSquatch itself decides on another event with the same key.
func (m *dedupeCache) keyOfEvent(mapped *mapping.Result) (f cacheKey) {
	for i, seed := range m.seeds {
		var hash maphash.Hash
		hash.SetSeed(seed)
		_, _ = hash.WriteString(mapped.MessageID) // never fails
		_ = hash.WriteByte(0)
		if mapped.Identity != 0 {
			maphash.WriteComparable(&hash, mapped.Identity)
		} else {
			writeBodies(&hash, mapped)
		}
		f[i] = hash.Sum64()
	}
	return f
}

func writeBodies(hash *maphash.Hash, mapped *mapping.Result) {
	_, _ = hash.Write(mapped.UserEvent.Body)
	if mapped.Kind == mapping.KindUserUpsert {
		for i := range mapped.Upserts {
			_, _ = hash.Write(mapped.Upserts[i].Body)
		}
	}
}

// keyOfIdempotencyKey tells an idempotency key from others.
func (m *dedupeCache) keyOfIdempotencyKey(key string) (f cacheKey) {
	for i, seed := range m.seeds {
		f[i] = maphash.String(seed, key)
	}
	return f
}

// cachedEvent is what the memory knows of one event.
type cachedEvent struct {
	*dedupeCache
	known, keyed bool
	event        cacheKey
	key          cacheKey
}

// of returns what is known of what was mapped. Without a messageId that is nothing:
// two events that look alike may both be meant.
func (m *dedupeCache) of(mapped *mapping.Result) cachedEvent {
	key := mapped.UserEvent.IdempotencyKey
	r := cachedEvent{dedupeCache: m, known: mapped.MessageID != "", keyed: key != ""}
	if r.known {
		r.event = m.keyOfEvent(mapped)
	}
	if r.keyed {
		r.key = m.keyOfIdempotencyKey(key)
	}
	return r
}

// delivered reports whether the event is at SaaSquatch already.
func (r *cachedEvent) delivered() bool { return r.known && r.passed.contains(r.event) }

// failedBefore reports whether an attempt to send the event failed.
func (r *cachedEvent) failedBefore() bool { return r.keyed && r.failed.contains(r.key) }

// ended returns a channel that is closed when the attempt at the event that is
// under way ends, nil if there is none.
func (r *cachedEvent) ended() <-chan struct{} {
	if !r.known {
		return nil
	}
	return r.inFlight.done(r.event)
}

// begin claims the event for an attempt, and returns false if one is under way.
func (r *cachedEvent) begin() bool { return !r.known || r.inFlight.add(r.event) }

// end says that the attempt is over, whose outcome has been recorded.
func (r *cachedEvent) end() {
	if r.known {
		r.inFlight.remove(r.event)
	}
}

// record remembers what an attempt came to.
func (r *cachedEvent) record(outcome adapter.Outcome) {
	if r.known && (outcome == adapter.Delivered || outcome == adapter.Duplicate) {
		r.passed.add(r.event)
	}
	switch {
	case !r.keyed:
	case outcome == adapter.Delivered, outcome == adapter.Duplicate:
		r.failed.remove(r.key)
	case outcome == adapter.Pending, outcome == adapter.Dead:
		r.failed.add(r.key)
	}
}
