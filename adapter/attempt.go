package adapter

import (
	"context"
	"time"

	"segment-saasquatch/mapping"
)

// Attempt is what one attempt at an event came to: one request to SaaSquatch, or
// several of a [Courier].
type Attempt struct {
	// Outcome is Delivered, Duplicate, Dead, or Pending if another attempt may
	// do better.
	Outcome Outcome
	// Reason is empty if Outcome is Delivered.
	Reason mapping.Reason
	// Detail is SaaSquatch's own explanation or the transport's error with its remedy,
	// without ids of users or values of the event.
	Detail string
	// Cause is why there was no answer, empty if there was one.
	Cause Cause
	// Status is the HTTP status, 0 if there was no answer.
	Status int
	// RetryAfter is how long SaaSquatch asks to wait, 0 if it does not say.
	RetryAfter time.Duration
	// Misconfigured says that no event can succeed until the configuration
	// changes: a wrong key, tenant alias or base URL.
	Misconfigured bool
	// Foreign says that the answer refuses the event and is not SaaSquatch's own: it is
	// from a proxy, a firewall or a wrong base URL. Whether it concerns the event or
	// every event shows in the answers to others. The Outcome is Pending.
	Foreign bool
	// Unprocessed says that another attempt cannot have the event processed twice:
	// the connection was never made, the answer refuses to process it, or nothing
	// but upserts were sent, which are idempotent. A pending attempt without it is
	// ambiguous.
	Unprocessed bool
	// RefusedFields are optional members of an upsert's body that SaaSquatch
	// refuses it for, so that it may be taken without them. Not all of them need
	// stand in the body. Set by single upserts that are dead alone.
	RefusedFields []string
	// Warnings name what had to be changed for SaaSquatch to take the event, in
	// alphabetical order; nil if there are none.
	Warnings []mapping.Warning
	// Requests is how many requests were made, 0 if that is not known.
	Requests int
}

// The warnings of an Attempt. They are of the same closed set as those of package
// mapping, and show beside them.
const (
	// WarningFieldRefused: SaaSquatch refused an upsert for its optional fields, and
	// got it without them.
	WarningFieldRefused mapping.Warning = "field_refused"
	// WarningUpsertRefused: SaaSquatch refused the upsert of an event's user for good.
	// The event was sent all the same.
	WarningUpsertRefused mapping.Warning = "upsert_refused"
)

// Sender makes one attempt to deliver what was mapped: a user event, or the
// upserts of a user. It neither waits nor retries. It is safe for concurrent use.
type Sender interface {
	Send(ctx context.Context, mapped *mapping.Result) Attempt
}

// DefaultConcurrency is how many requests to a tenant may be under way at once:
// enough for 1000 events in four seconds where SaaSquatch takes 250 ms for each.
const DefaultConcurrency = 64

// DefaultHorizon leaves an hour of the 24 for which SaaSquatch knows a key.
const DefaultHorizon = 23 * time.Hour
