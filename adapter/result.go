package adapter

import (
	"time"

	"segment-saasquatch/mapping"
)

// Result is the outcome of one event of a request.
type Result struct {
	// Index is the event's place in the request, from 0.
	Index int
	// MessageID is Segment's messageId, whether or not it is a valid key; see [Arrival].
	MessageID string
	// IdempotencyKey is the key that was sent, empty if there was none.
	IdempotencyKey string
	// EventKey is SaaSquatch's name of the event, empty unless it was mapped.
	EventKey string
	Outcome  Outcome
	Reason   mapping.Reason
	// Detail explains Reason to a person. It holds no payload.
	Detail   string
	Warnings []mapping.Warning
	// Attempts is how often the event was sent.
	Attempts int
	// Status is the last HTTP status of SaaSquatch, 0 if there was none.
	Status int
	// Call is the last call, 0 if there was none.
	Call Call
	// Duration is how long the attempts took. Direct delivery includes the waits between them.
	Duration time.Duration
	// Lag is the time from acceptance to the outcome, 0 if the event was not stored.
	Lag time.Duration
	// Events is how many events of a request the result stands for, if they are recorded together.
	// 0 means one.
	Events int
}

// Receipt is the answer to one request of events.
type Receipt struct {
	// Results holds one entry for each event, in their order.
	Results []Result
	// Redeliver says that the sender must send the whole request again: at least one event is
	// neither settled nor stored.
	Redeliver bool
}

// Counts counts events by outcome.
type Counts map[Outcome]int

// Counts counts the receipt's results by outcome.
func (r Receipt) Counts() Counts {
	counts := make(Counts, len(Outcomes))
	for i := range r.Results {
		counts[r.Results[i].Outcome]++
	}
	return counts
}
