// Package mapping turns Segment events into SaaSquatch user events and user upserts.
//
// The result depends on the event's bytes, the [Rules] and the time "now" alone. The package uses no network, clock,
// environment, logger or context. [Mapper.Map] returns exactly one of a user event, user upserts, a skip or a reject.
// It never panics, whatever the bytes. The one exception to a repeatable result: an expression of the rules may draw
// random numbers.
//
// The rules have the numbers M1 to M25. The golden cases in testdata/mapping have the same numbers.
package mapping
