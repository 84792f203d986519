package saasquatch

import (
	"context"
	"errors"
	"net"

	"segment-saasquatch/adapter"
)

// classify says what a status means for the event that was sent. SaaSquatch's
// codes come before the status where they say more: its apiErrorCode is the most
// reliable, then its rsCode.
func classify(status int, failure apiError, keyed bool) adapter.Attempt {
	attempt := adapter.Attempt{Status: status, Outcome: adapter.Pending}
	switch {
	case 200 <= status && status <= 299:
		attempt.Outcome = adapter.Delivered
	case 300 <= status && status <= 399:
		attempt.Reason, attempt.Misconfigured, attempt.Unprocessed = adapter.ReasonRedirected, true, true
	case status == 401:
		attempt.Reason, attempt.Misconfigured, attempt.Unprocessed = adapter.ReasonUnauthorized, true, true
	case status == 409 && keyed:
		attempt.Outcome, attempt.Reason = adapter.Duplicate, adapter.ReasonConflict
	case status == 409:
		attempt.Outcome, attempt.Reason = adapter.Dead, adapter.ReasonConflictWithoutKey
	case 400 <= status && status <= 499 && failure.doNotTrack():
		attempt.Outcome, attempt.Reason = adapter.Dead, adapter.ReasonDoNotTrack
	case 400 <= status && status <= 499 && failure.tenantUnknown():
		attempt.Reason, attempt.Misconfigured, attempt.Unprocessed = adapter.ReasonTenantNotFound, true, true
	case status == 403:
		attempt.Reason, attempt.Misconfigured, attempt.Unprocessed = adapter.ReasonForbidden, true, true
	case status == 404:
		attempt.Outcome, attempt.Reason = adapter.Dead, adapter.ReasonUserNotFound
	case status == 408, status == 425:
		attempt.Reason = adapter.ReasonTimeout
	case status == 429:
		attempt.Reason, attempt.Unprocessed = adapter.ReasonRateLimited, true
	case 400 <= status && status <= 499:
		attempt.Outcome, attempt.Reason = adapter.Dead, adapter.ReasonRefused
	default: // 5xx, and statuses that HTTP does not know
		attempt.Reason = adapter.ReasonServerError
	}
	return attempt
}

// classifyError says what a request without an answer means. Once it had a
// connection, SaaSquatch may have taken the event all the same.
func classifyError(err error, connected bool) adapter.Attempt {
	attempt := adapter.Attempt{
		Outcome: adapter.Pending, Reason: adapter.ReasonNetworkError, Detail: transportDetail(err),
		Unprocessed: !connected || neverDialed(err),
	}
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		attempt.Reason = adapter.ReasonTimeout
	}
	return attempt
}

// neverDialed reports whether the request ended for want of a connection. It may
// have had one before, which the server had closed: net/http then tries another,
// but sends a POST a second time only if nothing of it was written.
func neverDialed(err error) bool {
	var dial *net.OpError
	var lookup *net.DNSError
	return errors.As(err, &dial) && (dial.Op == "dial" || dial.Op == "proxyconnect") || errors.As(err, &lookup)
}
