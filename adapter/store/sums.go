package store

import (
	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// accepted stands in the place of an outcome in the totals for all events.
const accepted adapter.Outcome = 0

// sums are what a transaction adds to the running totals.
type sums map[sumKey]sum

type sumKey struct {
	connection int64
	outcome    adapter.Outcome
}

type sum struct{ events, bytes int64 }

// runSums are what a transaction adds to the outcomes of runs.
type runSums map[runKey]int64

// runKey names a count of a run. What is pending has no reason.
type runKey struct {
	run     int64
	outcome adapter.Outcome
	reason  mapping.Reason
}

// add counts events of a run; those of live traffic have none.
func (s runSums) add(run int64, outcome adapter.Outcome, reason mapping.Reason, events int64) {
	if run != 0 {
		s[runKey{run, outcome, reason}] += events
	}
}

// settle counts that an event of a run got its outcome.
func (s runSums) settle(run int64, outcome adapter.Outcome, reason mapping.Reason) {
	s.add(run, adapter.Pending, "", -1)
	s.add(run, outcome, reason, 1)
}

func (s sums) add(connection int64, outcome adapter.Outcome, events, bytes int64) {
	key := sumKey{connection, outcome}
	total := s[key]
	total.events += events
	total.bytes += bytes
	s[key] = total
}
