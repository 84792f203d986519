package adapter

import (
	"strconv"
	"strings"
	"time"

	"segment-saasquatch/mapping"
)

// APIError is what one call to SaaSquatch came to that did not succeed, other
// than the call that delivers an event, for which see [Attempt].
//
// A caller that repeats calls looks at three things: Misconfigured, where
// repeating is pointless until somebody changes the configuration; Retryable;
// and, if the call must not be made twice, [APIError.Ambiguous]. A call that is
// neither misconfigured nor retryable was refused for good.
type APIError struct {
	// Op is what was asked for, such as "create import job".
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
	// Unprocessed says that SaaSquatch cannot have done what was asked: the
	// connection was never made, or the answer refuses to.
	Unprocessed bool
	// Err is the cause, nil if there is no other than SaaSquatch's answer.
	Err error
}

// Ambiguous reports whether SaaSquatch may have done what was asked all the
// same. It matters for calls that are not idempotent, such as that which creates
// an import job: repeating it may create another.
func (e *APIError) Ambiguous() bool { return !e.Unprocessed }

// Error tells what was asked for and the answer, without credentials or URLs.
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

// Unwrap returns Err, so that a call which the caller ended can be told.
func (e *APIError) Unwrap() error { return e.Err }
