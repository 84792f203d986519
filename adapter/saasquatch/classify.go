package saasquatch

import (
	"cmp"
	"errors"
	"net"
	"net/http"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// classify says what a status means for the event that was sent. It is the one table
// for single calls, errors of GraphQL and records of imports. SaaSquatch's codes come
// before the status where they say more.
//
// A proxy, a firewall or a wrong base URL answers with statuses too. Those that tell a
// client when to come back, or with what credentials, mean the same from them. Any
// other 4xx is SaaSquatch's word only with its error object.
func classify(status int, failure apiError, keyed bool) adapter.Attempt {
	attempt := adapter.Attempt{Status: status, Outcome: adapter.Pending}
	if 200 <= status && status <= 299 {
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

// unexpected is a 2xx whose body is not SaaSquatch's: it is unknown whether SaaSquatch
// has processed what was sent.
func unexpected(status int) adapter.Attempt {
	return adapter.Attempt{Status: status, Outcome: adapter.Pending, Reason: mapping.ReasonUnexpectedAnswer}
}

// ClassifyRecord says what a record of an import that SaaSquatch refused means for its
// event, as [Client.Track] says it of an answer. A refusal without a status of a
// failure and without a known code is taken for a 400.
func ClassifyRecord(refused *adapter.RecordError, keyed bool) adapter.Attempt {
	failure := apiError{APIErrorCode: refused.APIErrorCode, RSCode: refused.RSCode, stated: true}
	if refused.StatusCode >= 300 {
		failure.StatusCode = refused.StatusCode
	}
	attempt := classify(cmp.Or(failure.status(), http.StatusBadRequest), failure, keyed)
	attempt.Status = refused.StatusCode
	return attempt
}

// classifyError says what a request means that came so far and got no answer. Once it
// had a connection, SaaSquatch may have taken the event all the same.
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

// neverDialed reports whether the request ended for want of a connection. It may
// have had one before, which the server had closed: net/http then tries another,
// but sends a POST a second time only if nothing of it was written.
func neverDialed(err error) bool {
	var dial *net.OpError
	var lookup *net.DNSError
	return errors.As(err, &dial) && (dial.Op == "dial" || dial.Op == "proxyconnect") || errors.As(err, &lookup)
}
