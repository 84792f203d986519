// Package adapter is the vocabulary of segment-saasquatch: what becomes of one Segment event, and
// the small interfaces that cross rooms. It has no loop and no goroutine.
//
// A Segment event enters as raw bytes. Package mapping turns it into a SaaSquatch user event or the
// upserts of a user, or says why there is neither. Package delivery sends it through a [Sender],
// one [Attempt] at a time, until its [Outcome] is known. An attempt and the loop around it are
// different types: a Sender never waits and never retries, the loop never builds a request.
//
// Every event ends as exactly one Outcome:
//
//	map ──► skipped      a valid Segment call with nothing to send
//	   │──► rejected     can never be sent
//	   ▼
//	attempt ──► delivered   2xx, in SaaSquatch's form
//	   ▲  │───► duplicate   409 to a request that carried an idempotency key
//	   │  │───► dead        SaaSquatch refuses this event for good
//	   └──┴───► pending     not settled yet: another attempt follows
package adapter
