package saasquatch

import (
	"net/http"

	"segment-saasquatch/adapter"
)

// classifyUpsert says what a status means for an upsert. It differs from an event
// in what is there already, in what can be missing, and in that SaaSquatch refuses
// the whole upsert for one optional field.
func classifyUpsert(status int, failure apiError) adapter.Attempt {
	refusal := 400 <= status && status <= 499
	switch {
	case refusal && !failure.doNotTrack() && !failure.tenantUnknown() && (status == http.StatusConflict || failure.userExists()):
		// A PUT has no idempotency key to conflict: another request created the user
		// at the same moment. The user exists; the fields of this upsert may be lost.
		return adapter.Attempt{Outcome: adapter.Delivered, Status: status}
	case status == http.StatusConflict:
		attempt := classify(http.StatusBadRequest, failure, false)
		attempt.Status = status
		return attempt
	case status == http.StatusNotFound && failure.APIErrorCode == "" && failure.RSCode == "":
		// An upsert creates what is missing, so it is the address that leads nowhere.
		return adapter.Attempt{Outcome: adapter.Pending, Reason: adapter.ReasonTenantNotFound, Status: status, Misconfigured: true, Unprocessed: true}
	}
	attempt := classify(status, failure, false)
	if attempt.Reason == adapter.ReasonUserNotFound {
		attempt.Reason = adapter.ReasonRefused
	}
	if attempt.Reason == adapter.ReasonRefused {
		attempt.RefusedFields = failure.refusedFields(status)
	}
	return attempt
}

// referralFields carry referral codes.
var referralFields = []string{"referralCode", "referralCodes", "referredBy", "referredByCodes"}

// fieldsByCode are the optional fields at fault by rsCode, from SaaSquatch's list of
// errors. Its statuses are not published.
var fieldsByCode = map[string][]string{
	"RS023": {"email"},
	"RS024": {"firstName"},
	"RS034": referralFields,
	"RS039": {"locale"},
	"RS052": {"cookies"},
	"RS053": {"shareLinks"},
}

// pickyFields are the optional fields whose values SaaSquatch is known to judge.
var pickyFields = []string{"locale", "email", "referredByCodes", "imageUrl"}

// refusedFields returns the optional fields that an upsert was refused for. SaaSquatch's
// codes say which; its messages are not a contract. A bad request that has no
// rsCode may be about any of those that SaaSquatch judges, and one with another
// rsCode is about something else.
func (e apiError) refusedFields(status int) []string {
	switch {
	case e.APIErrorCode == "REFERRAL_CODE_NOT_FOUND":
		return referralFields
	case e.RSCode != "":
		return fieldsByCode[e.RSCode]
	case status == http.StatusBadRequest && (e.APIErrorCode == "BAD_REQUEST" || e.APIErrorCode == "VALIDATION_FAILED"):
		return pickyFields
	default:
		return nil
	}
}
