package delivery

import (
	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// ownResults is how many rejected events of a request are recorded one by one, for each reason.
const ownResults = 100

// requestRecorder records the results of one request. A request of 30 KB can hold 10 000 events
// that are rejected. Beyond ownResults, those with the same reason share a result and a line of the
// log.
type requestRecorder struct {
	record func(adapter.Result)
	// rejected counts the rejected events by reason.
	rejected map[mapping.Reason]int
	// shared are the reasons with more than ownResults events, in order of appearance.
	shared []mapping.Reason
}

func (r *requestRecorder) add(result *adapter.Result) {
	if result.Outcome != adapter.Rejected {
		r.record(*result)
		return
	}
	if r.rejected == nil {
		r.rejected = make(map[mapping.Reason]int)
	}
	r.rejected[result.Reason]++
	switch n := r.rejected[result.Reason]; {
	case n <= ownResults:
		r.record(*result)
	case n == ownResults+1:
		r.shared = append(r.shared, result.Reason)
	}
}

// end records the shared results.
func (r *requestRecorder) end() {
	for _, reason := range r.shared {
		r.record(adapter.Result{Outcome: adapter.Rejected, Reason: reason, Events: r.rejected[reason] - ownResults})
	}
}
