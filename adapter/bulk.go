package adapter

import (
	"context"

	"segment-saasquatch/mapping"
)

// BulkSender makes attempts at several events by one call. It neither waits nor retries. It is safe
// for concurrent use.
type BulkSender interface {
	Sender
	// Bulkable reports whether SendBulk takes what was mapped: an event with an idempotency key, or
	// the upsert of an identify that is one call. Others have calls of their own.
	Bulkable(mapped *mapping.Result) bool
	// BulkSize returns how many items SendBulk should be given at the most. It is smaller than
	// MaxBulk after SaaSquatch refused larger calls.
	BulkSize() int
	// SendBulk makes one attempt at several events, or at several upserts, one of each user. A
	// pending item that is Unprocessed and Alone may be sent by itself at once: by SendMissing if its
	// Reason is user_not_found, else by Send.
	SendBulk(ctx context.Context, mapped []*mapping.Result) BulkAttempt
	// SendMissing makes one attempt at an event whose user SaaSquatch does not know: it upserts the
	// user first.
	SendMissing(ctx context.Context, mapped *mapping.Result) Attempt
}

// BulkAttempt is the result of one call for several events or upserts.
type BulkAttempt struct {
	// Call is what the call as a whole says about the tenant, for its circuit breaker.
	//
	// Its Outcome is Delivered if SaaSquatch gave an own answer to at least one item, whatever that was. If the call
	// failed as a whole, or if all items have the same pending answer, it is that answer. Else it is Pending, with
	// mapping.ReasonBulkUnclear. Its Requests are 1; those of the items are 0.
	Call Attempt
	// Items are the results in the order of the call, one for each. Never nil.
	//
	// If the call failed as a whole, each item is Call, or a Pending Attempt with Alone: no answer to the whole call
	// settles an item. If SaaSquatch answered the items one by one, Status is that of the item.
	Items []Attempt
	// Divisible says that SaaSquatch refused the whole call by 400 or 413, and took nothing. A call for half of the
	// items may pass. The Items are then Pending and Unprocessed, with Alone.
	Divisible bool
}

// MaxBulk is the most items of a bulk call. SaaSquatch documents it for upsertUsers; logUserEvents has no documented
// limit.
const MaxBulk = 100
