package adapter

// BulkAttempt is the result of one call for several events or upserts.
type BulkAttempt struct {
	// Call is what the call as a whole says about the tenant, for its circuit breaker. Its Outcome is Delivered if
	// SaaSquatch gave an own answer to at least one item. If the call failed as a whole, or if all items carry the same
	// pending answer, it is that answer.
	Call Attempt
	// Items are the results in the order of the call, one for each. If the call failed as a whole, each is Call, or a
	// pending Attempt with Alone. Never nil.
	Items []Attempt
	// Divisible says that SaaSquatch refused the whole call by 400 or 413, and took nothing. A call for half of the
	// items may pass. The Items are then pending and Unprocessed, with Alone.
	Divisible bool
}

// MaxBulk is the most items of a bulk call. SaaSquatch documents it for upsertUsers; logUserEvents has no documented
// limit.
const MaxBulk = 100
