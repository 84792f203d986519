package adapter

import (
	"context"
	"time"

	"segment-saasquatch/mapping"
)

// Attempt is the result of one attempt to deliver an event: of one request to SaaSquatch, or of the
// few that an event with the upsert of its user takes.
type Attempt struct {
	// Outcome is Delivered, Duplicate, Dead, or Pending if another attempt may succeed.
	Outcome Outcome
	// Reason is empty if Outcome is Delivered.
	Reason mapping.Reason
	// Detail is SaaSquatch's own explanation, or the transport's error with its remedy. It holds no
	// ids of users and no values of the event.
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
	// Foreign says that the answer refuses the event and is not SaaSquatch's own: it comes from a
	// proxy, a firewall or a wrong base URL. The answers to other events show whether it concerns
	// this event or every event. The Outcome is Pending.
	Foreign bool
	// Unprocessed says that another attempt cannot have the event processed twice: there was no
	// connection, the answer refuses the event, or only upserts were sent, which are idempotent. A
	// pending attempt without it is ambiguous.
	Unprocessed bool
	// RefusedFields are optional members of an upsert's body for which SaaSquatch refuses it.
	// SaaSquatch may take the upsert without them. The body need not have all of them. Only a dead
	// single upsert sets them, and an item of a bulk call that is Pending and Alone for them.
	RefusedFields []string
	// Warnings name the changes without which SaaSquatch would not have taken the event, in
	// alphabetical order; nil if there are none.
	Warnings []mapping.Warning
	// Call is the call that decided the attempt, 0 if there was none.
	Call Call
	// Requests is how many requests were made, 0 if that is not known.
	Requests int
	// Alone says that the next attempt must be a call for this event only, because the answer to a
	// bulk call does not tell what became of the event. The Outcome is Pending.
	Alone bool
}

// The warnings of an Attempt. They belong to the same closed set as those of package mapping, and
// appear beside them.
const (
	// WarningFieldRefused: SaaSquatch refused an upsert for its optional fields, and got it without
	// them.
	WarningFieldRefused mapping.Warning = "field_refused"
	// WarningUpsertRefused: SaaSquatch refused the upsert of an event's user for good. The event was
	// sent all the same.
	WarningUpsertRefused mapping.Warning = "upsert_refused"
)

// Sender makes one attempt to deliver a user event or the upserts of a user. It neither waits nor
// retries. It is safe for concurrent use.
type Sender interface {
	Send(ctx context.Context, mapped *mapping.Result) Attempt
}

// DefaultConcurrency is how many requests to a tenant may be in flight at once. It suffices for
// 1000 events in four seconds where SaaSquatch takes 250 ms for each.
const DefaultConcurrency = 64

// DefaultHorizon is how long an event is tried. It leaves an hour of the 24 for which SaaSquatch
// knows an idempotency key.
const DefaultHorizon = 23 * time.Hour
