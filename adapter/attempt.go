package adapter

import (
	"context"
	"time"

	"segment-saasquatch/mapping"
)

// Attempt is what one request to SaaSquatch came to.
type Attempt struct {
	// Outcome is Delivered, Duplicate, Dead, or Pending if another attempt may
	// do better.
	Outcome Outcome
	// Reason is empty if Outcome is Delivered.
	Reason Reason
	// Detail is SaaSquatch's own explanation or the transport's error, without
	// ids of users.
	Detail string
	// Status is the HTTP status, 0 if there was no answer.
	Status int
	// RetryAfter is how long SaaSquatch asks to wait, 0 if it does not say.
	RetryAfter time.Duration
	// Misconfigured says that no event can succeed until the configuration
	// changes: a wrong key, tenant alias or base URL.
	Misconfigured bool
	// Unprocessed says that SaaSquatch cannot have processed the event: the
	// connection was never made, or the answer refuses to. A pending attempt
	// without it is ambiguous.
	Unprocessed bool
}

// Sender makes one attempt to deliver an event. It neither waits nor retries. It
// is safe for concurrent use.
type Sender interface {
	Send(ctx context.Context, event *mapping.UserEvent) Attempt
}
