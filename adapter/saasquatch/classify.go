package saasquatch

import (
	"cmp"
	"errors"
	"net"
	"net/http"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// classify returns what a status means for the event of a request. It is the one table for single calls, errors of
// GraphQL and records of imports. SaaSquatch's codes come before the status where they say more.
//
// A proxy, a firewall or a wrong base URL answers with statuses too. A status that asks the client to come back or to
// authenticate means the same from them. Any other 4xx is SaaSquatch's word only with its error object.
func classify(status int, failure apiError, keyed bool) adapter.Attempt {
	attempt := adapter.Attempt{Status: status, Outcome: adapter.Pending}
	if succeeded(status) {
		attempt.Outcome = adapter.Delivered
		return attempt
	}
	code, refusal := failure.code(), 400 <= status && status <= 499
	switch {
	case 300 <= status && status <= 399:
		attempt.Reason, attempt.Misconfigured, attempt.Unprocessed = mapping.ReasonRedirected, true, true
	case status == http.StatusUnauthorized:
		attempt.Reason, attempt.Misconfigured, attempt.Unprocessed = mapping.ReasonUnauthorized, true, true
	case status == http.StatusConflict && keyed:
		attempt.Outcome, attempt.Reason = adapter.Duplicate, mapping.ReasonConflict
	case status == http.StatusConflict:
		attempt.Outcome, attempt.Reason = adapter.Dead, mapping.ReasonConflictWithoutKey
	case refusal && code.doNotTrack:
		attempt.Outcome, attempt.Reason = adapter.Dead, mapping.ReasonDoNotTrack
	case refusal && code.tenantUnknown:
		attempt.Reason, attempt.Misconfigured, attempt.Unprocessed = mapping.ReasonTenantNotFound, true, true
	case status == http.StatusForbidden:
		attempt.Reason, attempt.Misconfigured, attempt.Unprocessed = mapping.ReasonForbidden, true, true
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		attempt.Reason = mapping.ReasonTimeout
	case status == http.StatusTooManyRequests, refusal && code.status == http.StatusTooManyRequests:
		attempt.Reason, attempt.Unprocessed = mapping.ReasonRateLimited, true
	case refusal && code.passes():
		attempt.Reason = mapping.ReasonServerError
	case refusal && !failure.stated:
		attempt.Reason, attempt.Foreign, attempt.Unprocessed = mapping.ReasonUnexpectedAnswer, true, true
	case status == http.StatusNotFound:
		attempt.Outcome, attempt.Reason = adapter.Dead, mapping.ReasonUserNotFound
	case refusal:
		attempt.Outcome, attempt.Reason = adapter.Dead, mapping.ReasonRefused
	default: // 5xx, those below 200, and statuses that HTTP does not know
		attempt.Reason = mapping.ReasonServerError
	}
	return attempt
}

// ClassifyRecord returns what a refused record of an import means for its event, as [Client.Track] does for an answer.
// A refusal without the status of a failure and without a known code counts as a 400.
func ClassifyRecord(refused *adapter.RecordError, keyed bool) adapter.Attempt {
	failure := apiError{APIErrorCode: refused.APIErrorCode, RSCode: refused.RSCode, stated: true}
	if refused.StatusCode >= 300 {
		failure.StatusCode = refused.StatusCode
	}
	attempt := classify(cmp.Or(failure.status(), http.StatusBadRequest), failure, keyed)
	attempt.Status = refused.StatusCode
	return attempt
}

// classifyError classifies a request that got as far as came, without an answer. Once it had a connection, SaaSquatch
// may have taken the event.
func classifyError(err error, came phase) adapter.Attempt {
	cause := causeOf(err, came)
	attempt := adapter.Attempt{
		Outcome: adapter.Pending, Reason: mapping.ReasonNetworkError,
		Cause: cause, Detail: transportDetail(err, cause.Remedy()),
		Unprocessed: came != phaseSent || neverDialed(err),
	}
	if isTimeout(err) {
		attempt.Reason = mapping.ReasonTimeout
	}
	return attempt
}

// neverDialed reports whether the request ended for want of a connection. It may have had one that the server had
// closed: net/http then tries another, but sends a POST a second time only if it had written nothing of it.
func neverDialed(err error) bool {
	dial, ok := errors.AsType[*net.OpError](err)
	return ok && (dial.Op == "dial" || dial.Op == "proxyconnect") || typed[*net.DNSError](err)
}
