package sandbox

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// apiError is an error as SaaSquatch answers it. The members are those of its API definition. rsCode is from its Java
// SDK.
type apiError struct {
	status       int
	message      string
	apiErrorCode string
	rsCode       string
}

// errTenantNotFound is the literal answer of the live service for an unknown tenant in August 2026. The public
// catalogue gives RS045 another meaning.
var errTenantNotFound = &apiError{http.StatusNotFound, "Missing or invalid tenant alias.", "TENANT_NOT_FOUND", "RS045"}

// Of the other errors SaaSquatch publishes at most the status and the rsCode. Assumed: all apiErrorCodes except
// BAD_REQUEST. An rsCode is empty if it is unpublished.
var (
	errUnauthorized = &apiError{http.StatusUnauthorized, "The API key is missing or wrong.", "UNAUTHORIZED", ""}
	errNoEndpoint   = &apiError{http.StatusNotFound,
		"No such endpoint. The sandbox's own pages are below /_sandbox/.", "ENDPOINT_NOT_FOUND", ""}
	errMethod = &apiError{http.StatusMethodNotAllowed,
		"The endpoint does not take this method.", "METHOD_NOT_ALLOWED", ""}
	// errContentType: RS046 is published, 415 is assumed.
	errContentType = &apiError{http.StatusUnsupportedMediaType,
		"The content type must be application/json.", "UNSUPPORTED_MEDIA_TYPE", "RS046"}
	errTooLarge = tooLarge(maxBody)
	// errUserNotFound: SaaSquatch answers 404 for a missing account (RS041) and for a missing user (RS042). Its
	// current API reference shows RS042.
	errUserNotFound = &apiError{http.StatusNotFound, "User not found.", "USER_NOT_FOUND", "RS042"}
	// errConflict: SaaSquatch describes no body for 409, so no client may rely on one.
	errConflict = &apiError{http.StatusConflict,
		"The idempotency key was used within the last 24 hours.", "IDEMPOTENCY_KEY_CONFLICT", ""}
	// errUserExists: RS048 is published, 409 is assumed.
	errUserExists = &apiError{http.StatusConflict, "The user already exists.", "USER_ALREADY_EXISTS", "RS048"}
	// errAccountFull: the limit and RS013 are published, 400 is assumed.
	errAccountFull = badRequestRS("RS013", "The account holds the maximum of %d users.", maxUsersPerAccount)
	// errDoNotTrack: RS050 is published, 400 is assumed.
	errDoNotTrack   = badRequestRS("RS050", "The user is marked as not to be tracked.")
	errBlankUser    = badRequestRS("RS043", "The user id must not be blank.")
	errBlankAccount = badRequestRS("RS044", "The account id must not be blank.")
)

func tooLarge(limit int64) *apiError {
	return &apiError{http.StatusRequestEntityTooLarge,
		fmt.Sprintf("The body is larger than %d bytes.", limit), "PAYLOAD_TOO_LARGE", ""}
}

func badRequest(format string, args ...any) *apiError {
	return badRequestRS("", format, args...)
}

func badRequestRS(rsCode, format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, fmt.Sprintf(format, args...), "BAD_REQUEST", rsCode}
}

// Error is the message.
func (e *apiError) Error() string { return e.message }

func (e *apiError) answer(scratch *scratch) answer {
	out := append(scratch.out[:0], `{"message":`...)
	out = appendString(out, e.message)
	out = append(out, `,"statusCode":`...)
	out = strconv.AppendInt(out, int64(e.status), 10)
	out = append(out, `,"apiErrorCode":`...)
	out = appendString(out, e.apiErrorCode)
	out = append(out, `,"rsCode":`...)
	out = appendString(out, e.rsCode)
	out = append(out, '}')
	scratch.out = out
	return answer{status: e.status, body: out}
}

// appendString appends text as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendString[Text string | []byte](dst []byte, text Text) []byte {
	// The only error is that of invalid UTF-8.
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst
}
