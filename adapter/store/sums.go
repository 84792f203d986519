package store

import "segment-saasquatch/adapter"

// accepted stands in the place of an outcome in the totals for all events.
const accepted adapter.Outcome = 0

// sums are what a transaction adds to the running totals.
type sums map[sumKey]sum

type sumKey struct {
	connection int64
	outcome    adapter.Outcome
}

type sum struct{ events, bytes int64 }

func (s sums) add(connection int64, outcome adapter.Outcome, events, bytes int64) {
	key := sumKey{connection, outcome}
	total := s[key]
	total.events += events
	total.bytes += bytes
	s[key] = total
}
