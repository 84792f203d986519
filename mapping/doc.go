// Package mapping turns Segment events into SaaSquatch user events and user upserts.
//
// It is a pure function of the event's bytes, the [Rules] and the time "now":
// it knows no network, clock, environment, logger or context. [Mapper.Map]
// yields exactly one of a user event, user upserts, a skip or a reject, and never
// panics, whatever the bytes. Only expressions of the rules that draw random numbers
// yield another result the next time.
//
// The rules are numbered M1 to M22; the golden cases in testdata/mapping
// bear the same numbers.
package mapping
