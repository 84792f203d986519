package adapter

import (
	"strconv"
	"strings"
	"time"

	"segment-saasquatch/mapping"
)

// APIError is the failure of one call to SaaSquatch. The call that delivers an event has [Attempt]
// instead.
//
// A caller that repeats calls looks at three things: at Misconfigured, after which a retry is
// pointless until the configuration changes; at Retryable; and, if the call must not be made twice,
// at [APIError.Ambiguous]. SaaSquatch has refused for good a call that is neither misconfigured nor
// retryable.
type APIError struct {
	// Op names the call, such as "create import job".
	Op string
	// Reason is one of the reasons of a failed attempt, or
	// ReasonUnreadableAnswer.
	Reason mapping.Reason
	// Status is the HTTP status or, in an answer of GraphQL, the status that its
	// error states. 0 if there is neither.
	Status int
	// Code and RSCode are SaaSquatch's apiErrorCode and rsCode, empty if it gives
	// none.
	Code, RSCode string
	// Message is SaaSquatch's own explanation or the transport's error, printable
	// and cut to 300 bytes.
	Message string
	// RetryAfter is how long SaaSquatch asks to wait, 0 if it does not say.
	RetryAfter time.Duration
	// Misconfigured says that no call can succeed until the configuration
	// changes: a wrong key, tenant alias or base URL.
	Misconfigured bool
	// Retryable says that another call may do better.
	Retryable bool
	// Unprocessed says that SaaSquatch cannot have carried out the call: there was no connection,
	// or the answer refuses the call.
	Unprocessed bool
	// Err is the cause, nil if there is no other than SaaSquatch's answer.
	Err error
}

// Ambiguous reports whether SaaSquatch may have carried out the call in spite of the error. That
// matters for calls that are not idempotent: to repeat the creation of an import job may create a
// second one.
func (e *APIError) Ambiguous() bool { return !e.Unprocessed }

// Error names the call and the answer, without credentials or URLs.
func (e *APIError) Error() string {
	parts := []string{e.Op + ":"}
	if e.Status != 0 {
		parts = append(parts, "HTTP", strconv.Itoa(e.Status))
	}
	for _, part := range []string{e.Code, e.RSCode, e.Message} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if len(parts) == 1 {
		parts = append(parts, string(e.Reason))
	}
	return strings.Join(parts, " ")
}

// Unwrap returns Err, so that errors.Is recognises a call that the caller cancelled.
func (e *APIError) Unwrap() error { return e.Err }
