package store

import (
	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// accepted is the outcome under which the totals count all events.
const accepted adapter.Outcome = 0

// sums are the changes of a transaction to the running totals.
type sums map[sumKey]sum

type sumKey struct {
	connection int64
	outcome    adapter.Outcome
}

type sum struct{ events, bytes int64 }

// runSums are the changes of a transaction to the outcomes of runs.
type runSums map[runKey]int64

// runKey identifies a count of a run. Pending events have no reason.
type runKey struct {
	run     int64
	outcome adapter.Outcome
	reason  mapping.Reason
}

// add counts events of a run. Run 0 is live traffic, which is not counted.
func (s runSums) add(run int64, outcome adapter.Outcome, reason mapping.Reason, events int64) {
	if run != 0 {
		s[runKey{run, outcome, reason}] += events
	}
}

// settle moves an event of a run from pending to its outcome.
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
