package webhook

import (
	"errors"
	"net/http"
)

// Reason is the reason why a request was not accepted, or why its sender may not know that it was. The set is closed.
// An accepted request has none.
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
	// ReasonBodyIncomplete: the body broke off, or arrived too slowly.
	ReasonBodyIncomplete Reason = "body_incomplete"
	// ReasonTooManyBodies: the memory for bodies is in use.
	ReasonTooManyBodies Reason = "too_many_bodies"
	// ReasonTooManyUnverified: the memory for unverified bodies is in use.
	ReasonTooManyUnverified Reason = "too_many_unverified"
	// ReasonStoreUnavailable: the store did not take the events.
	ReasonStoreUnavailable Reason = "store_unavailable"
	// ReasonNotDelivered: an event of direct delivery has no outcome in time.
	ReasonNotDelivered Reason = "not_delivered"
	// ReasonSenderLeft: the sender closed its side of the connection before the answer. The status is the answer that
	// it may have missed: after 200 everything is stored. The hole: a sender that only closes its write side looks the
	// same.
	ReasonSenderLeft Reason = "sender_left"
	// ReasonUnknownPath: no connection has the path.
	ReasonUnknownPath Reason = "unknown_path"
	// ReasonMethodNotAllowed: the path does not take the method.
	ReasonMethodNotAllowed Reason = "method_not_allowed"
	// ReasonMalformedRequest: the server refused a malformed, too long or unsupported header.
	ReasonMalformedRequest Reason = "malformed_request"
	// ReasonInternalError: the handling panicked.
	ReasonInternalError Reason = "internal_error"
)

// reasonByStatus has the reasons of the statuses with one reason. Errors for 503 with another reason carry it.
var reasonByStatus = map[int]Reason{
	http.StatusUnauthorized:          ReasonUnauthorized,
	http.StatusBadRequest:            ReasonInvalidBody,
	http.StatusRequestEntityTooLarge: ReasonTooLarge,
	http.StatusUnsupportedMediaType:  ReasonUnsupportedEncoding,
	http.StatusNotFound:              ReasonUnknownPath,
	http.StatusMethodNotAllowed:      ReasonMethodNotAllowed,
	http.StatusServiceUnavailable:    ReasonBodyIncomplete,
	http.StatusInternalServerError:   ReasonInternalError,
}

// reasonOf returns the reason of an error that refuses a request.
func reasonOf(err error) Reason {
	if refused, ok := errors.AsType[*requestError](err); ok && refused.reason != "" {
		return refused.reason
	}
	return reasonByStatus[statusOf(err)]
}
