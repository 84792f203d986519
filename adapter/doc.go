// Package adapter is the vocabulary of segment-saasquatch and the loop that
// takes one Segment event to one [Outcome].
//
// A Segment event enters as raw bytes. Package mapping turns it into a
// SaaSquatch user event, or says why there is none; a [Forwarder] sends it
// through a [Sender], one attempt at a time, until the [Outcome] is known.
// One attempt and the loop around it are different types: a Sender never waits
// and never retries, a Forwarder never builds a request.
//
// Every event ends as exactly one Outcome:
//
//	map ──► skipped      a valid Segment call with nothing to send
//	   │──► rejected     can never be sent
//	   ▼
//	attempt ──► delivered   2xx
//	   ▲  │───► duplicate   409 to a request that carried an idempotency key
//	   │  │───► dead        SaaSquatch refuses this event for good
//	   └──┴───► pending     not settled yet: Segment is asked to send it again
package adapter
