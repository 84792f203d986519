package saasquatch

import (
	"net/http"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// classifyUpsert says what a status means for an upsert. It differs from an event
// in what is there already, in what can be missing, and in that SaaSquatch refuses
// the whole upsert for one optional field.
func classifyUpsert(status int, failure apiError) adapter.Attempt {
	code, refusal := failure.code(), 400 <= status && status <= 499
	switch {
	case refusal && !code.doNotTrack && !code.tenantUnknown && (status == http.StatusConflict || code.userExists):
		// A PUT has no idempotency key to conflict: another request created the user
		// at the same moment. The user exists; the fields of this upsert may be lost.
		return adapter.Attempt{Outcome: adapter.Delivered, Status: status}
	case status == http.StatusConflict:
		attempt := classify(http.StatusBadRequest, failure, false)
		attempt.Status = status
		return attempt
	case status == http.StatusNotFound && failure.stated && failure.APIErrorCode == "" && failure.RSCode == "":
		// SaaSquatch knows the address and not its tenant: an upsert creates what else
		// is missing.
		return adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonTenantNotFound, Status: status, Misconfigured: true, Unprocessed: true}
	}
	attempt := classify(status, failure, false)
	if attempt.Reason == mapping.ReasonUserNotFound {
		attempt.Reason = mapping.ReasonRefused
	}
	if attempt.Reason == mapping.ReasonRefused {
		attempt.RefusedFields = failure.refusedFields(status)
	}
	return attempt
}
