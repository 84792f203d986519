package saasquatch

import "net/http"

// code is the meaning of one of SaaSquatch's codes.
type code struct {
	// status is the status of an error with the code that states none. SaaSquatch publishes the status of few codes;
	// the others have that of a code with the same meaning.
	status int
	// tenantUnknown: the tenant alias is wrong.
	tenantUnknown bool
	// userExists: the user or account to be created existed already.
	userExists bool
	// doNotTrack: the user was deleted and must not come back.
	doNotTrack bool
	// fields are the optional fields of an upsert at fault.
	fields []string
}

// passes reports whether another attempt may succeed in spite of a 4xx: SaaSquatch wants fewer requests, or failed
// itself.
func (c code) passes() bool {
	return c.status == http.StatusTooManyRequests || c.status >= http.StatusInternalServerError
}

// referralFields carry referral codes.
var referralFields = []string{"referralCode", "referralCodes", "referredBy", "referredByCodes"}

// codes are SaaSquatch's apiErrorCodes and rsCodes that say more than a status. The first are from its API definition
// and from answers of the live service, the others from its list of errors, https://docs.saasquatch.com/api/errors.
// SaaSquatch answers RS045 for an unknown tenant, although the list gives it another meaning. RS049 is a program that
// failed over the event; SaaSquatch may have stored the event.
var codes = map[string]code{
	"API_REQUEST_NOT_SUPPORTED": {status: http.StatusForbidden},
	"BAD_REQUEST":               {status: http.StatusBadRequest},
	"REFERRAL_CODE_NOT_FOUND":   {status: http.StatusNotFound, fields: referralFields},
	"TENANT_NOT_FOUND":          {status: http.StatusNotFound, tenantUnknown: true},
	"VALIDATION_FAILED":         {status: http.StatusBadRequest},

	"RS013": {status: http.StatusBadRequest}, // the account is full
	"RS014": {status: http.StatusInternalServerError},
	"RS015": {status: http.StatusNotFound, tenantUnknown: true},
	"RS016": {status: http.StatusInternalServerError},
	"RS017": {status: http.StatusInternalServerError},
	"RS020": {status: http.StatusInternalServerError},
	"RS021": {status: http.StatusConflict, userExists: true},
	"RS023": {status: http.StatusBadRequest, fields: []string{"email"}},
	"RS024": {status: http.StatusBadRequest, fields: []string{"firstName"}},
	"RS027": {status: http.StatusInternalServerError},
	"RS031": {status: http.StatusNotFound, tenantUnknown: true},
	"RS033": {status: http.StatusTooManyRequests},
	"RS034": {status: http.StatusBadRequest, fields: referralFields},
	"RS038": {status: http.StatusNotFound, tenantUnknown: true},
	"RS039": {status: http.StatusBadRequest, fields: []string{"locale"}},
	"RS041": {status: http.StatusNotFound},
	"RS042": {status: http.StatusNotFound},
	"RS043": {status: http.StatusBadRequest},
	"RS044": {status: http.StatusBadRequest},
	"RS045": {status: http.StatusNotFound, tenantUnknown: true},
	"RS048": {status: http.StatusConflict, userExists: true},
	"RS049": {status: http.StatusInternalServerError},
	"RS050": {status: http.StatusBadRequest, doNotTrack: true},
	"RS052": {status: http.StatusBadRequest, fields: []string{"cookies"}},
	"RS053": {status: http.StatusBadRequest, fields: []string{"shareLinks"}},
}

// code returns the meaning of the error's codes together. The apiErrorCode, the most reliable, precedes the rsCode.
func (e apiError) code() code {
	api, rs := codes[e.APIErrorCode], codes[e.RSCode]
	return code{
		status:        statusOf(api, rs),
		tenantUnknown: api.tenantUnknown || rs.tenantUnknown,
		userExists:    api.userExists || rs.userExists,
		doNotTrack:    api.doNotTrack || rs.doNotTrack,
	}
}

// statusOf returns the status of two codes. A passing rsCode comes before BAD_REQUEST, which SaaSquatch gives with
// many rsCodes.
func statusOf(api, rs code) int {
	if api.status == 0 || rs.passes() {
		return rs.status
	}
	return api.status
}

// status returns the status that the error states, else the status of its codes, else 0.
func (e apiError) status() int {
	if e.StatusCode != 0 {
		return e.StatusCode
	}
	return e.code().status
}

// pickyFields are the optional fields whose values SaaSquatch is known to validate.
var pickyFields = []string{"locale", "email", "referredByCodes", "imageUrl"}

// refusedFields returns the optional fields for which SaaSquatch refused an upsert. It judges by the codes;
// SaaSquatch's messages are not a contract. A bad request without an rsCode may be about any field that SaaSquatch
// validates. One with an rsCode that is not about fields is about something else.
func (e apiError) refusedFields(status int) []string {
	switch {
	case codes[e.APIErrorCode].fields != nil:
		return codes[e.APIErrorCode].fields
	case e.RSCode != "":
		return codes[e.RSCode].fields
	case status == http.StatusBadRequest && codes[e.APIErrorCode].status == http.StatusBadRequest:
		return pickyFields
	default:
		return nil
	}
}
