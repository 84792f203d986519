package saasquatch

import (
	"net/http"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// classifyUpsert returns what a status means for an upsert. Three things differ from an event: the user may exist
// already, an upsert creates a missing user, and SaaSquatch refuses the whole upsert for one optional field. Upserts
// have no keys.
func classifyUpsert(status int, failure apiError, _ bool) adapter.Attempt {
	code, refusal := failure.code(), 400 <= status && status <= 499
	switch {
	case refusal && !code.doNotTrack && !code.tenantUnknown && (status == http.StatusConflict || code.userExists):
		// A PUT has no idempotency key, so this is no conflict of keys: another request created the user at the same
		// moment. The user exists; the fields of this upsert may be lost.
		return adapter.Attempt{Outcome: adapter.Delivered, Status: status}
	case status == http.StatusConflict:
		attempt := classify(http.StatusBadRequest, failure, false)
		attempt.Status = status
		return attempt
	case status == http.StatusNotFound && failure.stated && failure.APIErrorCode == "" && failure.RSCode == "":
		// SaaSquatch knows the path and not the tenant: an upsert creates a missing account or user.
		return adapter.Attempt{
			Outcome: adapter.Pending, Reason: mapping.ReasonTenantNotFound, Status: status,
			Misconfigured: true, Unprocessed: true,
		}
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
