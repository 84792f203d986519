package replay

import (
	"cmp"
	"slices"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// tallies are numbers of events by outcome and reason.
type tallies map[tallyKey]int64

type tallyKey struct {
	outcome adapter.Outcome
	reason  mapping.Reason
}

func (t tallies) add(outcome adapter.Outcome, reason mapping.Reason, events int64) {
	t[tallyKey{outcome, reason}] += events
}

// list returns the tallies, sorted by outcome and reason.
func (t tallies) list() []adapter.Tally {
	list := make([]adapter.Tally, 0, len(t))
	for key, events := range t {
		if events != 0 {
			list = append(list, adapter.Tally{Outcome: key.outcome, Reason: key.reason, Events: events})
		}
	}
	slices.SortFunc(list, func(a, b adapter.Tally) int {
		return cmp.Or(cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}

// total returns the number of events with one of the outcomes.
func total(list []adapter.Tally, outcomes ...adapter.Outcome) (events int64) {
	for _, tally := range list {
		if slices.Contains(outcomes, tally.Outcome) {
			events += tally.Events
		}
	}
	return events
}

// sent returns the number of events that were sent to SaaSquatch, or will be. Events that the ledger or the queue
// held before do not count.
func sent(list []adapter.Tally) (events int64) {
	for _, tally := range list {
		switch tally.Outcome {
		case adapter.Delivered, adapter.Dead, adapter.Pending:
			events += tally.Events
		case adapter.Duplicate:
			if tally.Reason != mapping.ReasonAlreadyDelivered && tally.Reason != mapping.ReasonAlreadyAccepted {
				events += tally.Events
			}
		}
	}
	return events
}
