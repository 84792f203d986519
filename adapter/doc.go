// Package adapter is the vocabulary of segment-saasquatch and the loop that
// takes one Segment event to one [Outcome].
//
// A Segment event enters as raw bytes. Package mapping turns it into a
// SaaSquatch user event or the upserts of a user, or says why there is neither; a
// [Forwarder] or [Dispatcher] sends it through a [Sender], one attempt at a time,
// until the [Outcome] is known. One attempt and the loop around it are different
// types: a Sender never waits and never retries, the others never build a request.
// The Sender is a [Courier], which makes of one attempt the calls it takes.
//
// Every event ends as exactly one Outcome:
//
//	map ──► skipped      a valid Segment call with nothing to send
//	   │──► rejected     can never be sent
//	   ▼
//	attempt ──► delivered   2xx, in SaaSquatch's form
//	   ▲  │───► duplicate   409 to a request that carried an idempotency key
//	   │  │───► dead        SaaSquatch refuses this event for good
//	   └──┴───► pending     not settled yet: Segment is asked to send it again
package adapter
