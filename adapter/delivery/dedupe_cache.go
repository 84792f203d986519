package delivery

import (
	"hash/maphash"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// dedupeEvents is how many events of each kind a Retrier remembers at least, in about 10 MB.
// Segment's largest batch has 4000.
const dedupeEvents = 100_000

// dedupeCache remembers events that Segment may send again. It ends with the process.
//
// It remembers delivered events, because Segment sends a whole request again for one event that
// failed. Otherwise a redelivery would ask SaaSquatch about every event of the batch once more, and
// another one could fail each time. SaaSquatch would also count twice the events without an
// idempotency key.
//
// It remembers failed attempts, to tell a later 409 from an ordinary one.
//
// It remembers attempts in flight, because Segment may give up on a request and send it again
// before they end.
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

// keyOfEvent identifies an event. A messageId that is no valid key is often not unique. Then the
// identity decides, as in a ledger, so that an expression with changing results does not hide a
// redelivery. Beside a valid key it is the body to send: SaaSquatch itself decides about another
// event with the same key.
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

// keyOfIdempotencyKey identifies an idempotency key.
func (m *dedupeCache) keyOfIdempotencyKey(key string) (f cacheKey) {
	for i, seed := range m.seeds {
		f[i] = maphash.String(seed, key)
	}
	return f
}

// cachedEvent is an event in the cache.
type cachedEvent struct {
	*dedupeCache
	known, keyed bool
	event        cacheKey
	key          cacheKey
}

// of looks up what was mapped. The cache knows nothing of an event without a messageId: two events
// that look alike may both be meant.
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

// delivered reports whether SaaSquatch has the event already.
func (r *cachedEvent) delivered() bool { return r.known && r.passed.contains(r.event) }

// failedBefore reports whether an attempt to send the event failed.
func (r *cachedEvent) failedBefore() bool { return r.keyed && r.failed.contains(r.key) }

// ended returns a channel that is closed when the attempt in flight at the event ends, nil if there
// is none.
func (r *cachedEvent) ended() <-chan struct{} {
	if !r.known {
		return nil
	}
	return r.inFlight.done(r.event)
}

// begin claims the event for an attempt, and returns false if one is in flight.
func (r *cachedEvent) begin() bool { return !r.known || r.inFlight.add(r.event) }

// end ends the claim. The outcome of the attempt must have been recorded.
func (r *cachedEvent) end() {
	if r.known {
		r.inFlight.remove(r.event)
	}
}

// record remembers the outcome of an attempt.
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
