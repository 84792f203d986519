package webhook

import (
	"errors"
	"net/http"
)

// Reason says in one word why a request was not accepted, or why its sender does not know.
// The set is closed. An accepted request has none.
type Reason string

const (
	// ReasonUnauthorized: a credential is missing or wrong.
	ReasonUnauthorized Reason = "unauthorized"
	// ReasonInvalidBody: the body is no event and no batch of events, or broken gzip.
	ReasonInvalidBody Reason = "invalid_body"
	// ReasonTooLarge: the body is larger than the limit, or has too many events.
	ReasonTooLarge Reason = "too_large"
	// ReasonUnsupportedEncoding: the Content-Encoding is neither gzip nor identity.
	ReasonUnsupportedEncoding Reason = "unsupported_encoding"
	// ReasonBodyIncomplete: the body broke off, or came too slowly.
	ReasonBodyIncomplete Reason = "body_incomplete"
	// ReasonTooManyBodies: the memory for bodies is in use.
	ReasonTooManyBodies Reason = "too_many_bodies"
	// ReasonTooManyUnverified: the memory for bodies is in use whose signature is not
	// verified yet.
	ReasonTooManyUnverified Reason = "too_many_unverified"
	// ReasonStoreUnavailable: the store did not take the events.
	ReasonStoreUnavailable Reason = "store_unavailable"
	// ReasonNotDelivered: direct delivery has no outcome of some event in time.
	ReasonNotDelivered Reason = "not_delivered"
	// ReasonSenderLeft: the sender closed its side of the connection before the answer.
	// The status is the answer that it may have missed: after 200 everything is stored.
	// The hole: a sender that only says that it writes no more looks the same.
	ReasonSenderLeft Reason = "sender_left"
	// ReasonUnknownPath: no connection has the path.
	ReasonUnknownPath Reason = "unknown_path"
	// ReasonMethodNotAllowed: the path does not take the method.
	ReasonMethodNotAllowed Reason = "method_not_allowed"
	// ReasonMalformedRequest: the server refused a header that is malformed, too long or
	// not supported.
	ReasonMalformedRequest Reason = "malformed_request"
	// ReasonInternalError: the handling panicked.
	ReasonInternalError Reason = "internal_error"
)

// reasonOfStatus returns the reason for statuses that stand for one.
func reasonOfStatus(status int) Reason {
	switch status {
	case http.StatusUnauthorized:
		return ReasonUnauthorized
	case http.StatusBadRequest:
		return ReasonInvalidBody
	case http.StatusRequestEntityTooLarge:
		return ReasonTooLarge
	case http.StatusUnsupportedMediaType:
		return ReasonUnsupportedEncoding
	case http.StatusNotFound:
		return ReasonUnknownPath
	case http.StatusMethodNotAllowed:
		return ReasonMethodNotAllowed
	case http.StatusServiceUnavailable:
		return ReasonBodyIncomplete // the others say so themselves
	case http.StatusInternalServerError:
		return ReasonInternalError
	default:
		return ""
	}
}

// reasonOf returns the reason of an error that refuses a request.
func reasonOf(err error) Reason {
	var refused *requestError
	if errors.As(err, &refused) && refused.reason != "" {
		return refused.reason
	}
	return reasonOfStatus(statusOf(err))
}
