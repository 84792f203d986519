package sandbox

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// apiError is an error as SaaSquatch answers it. The four members are those of
// its API definition and of its Java SDK, which adds rsCode.
type apiError struct {
	status       int
	message      string
	apiErrorCode string
	rsCode       string
}

// errTenantNotFound is, to the letter, what the live service answered for an
// unknown tenant in August 2026. Its public catalogue gives RS045 another meaning.
var errTenantNotFound = &apiError{http.StatusNotFound, "Missing or invalid tenant alias.", "TENANT_NOT_FOUND", "RS045"}

// Of the others SaaSquatch publishes status and rsCode at most; their
// apiErrorCodes are assumed, except BAD_REQUEST. An empty rsCode is unpublished.
var (
	errUnauthorized = &apiError{http.StatusUnauthorized, "The API key is missing or wrong.", "UNAUTHORIZED", ""}
	errNoEndpoint   = &apiError{http.StatusNotFound, "No such endpoint. The sandbox's own pages are below /_sandbox/.", "ENDPOINT_NOT_FOUND", ""}
	errMethod       = &apiError{http.StatusMethodNotAllowed, "The endpoint does not take this method.", "METHOD_NOT_ALLOWED", ""}
	// errContentType: RS046 is published, 415 is assumed.
	errContentType = &apiError{http.StatusUnsupportedMediaType, "The content type must be application/json.", "UNSUPPORTED_MEDIA_TYPE", "RS046"}
	errTooLarge    = &apiError{http.StatusRequestEntityTooLarge, "The body is larger than " + strconv.Itoa(maxBody) + " bytes.", "PAYLOAD_TOO_LARGE", ""}
	// errUserNotFound: SaaSquatch has RS041 for a missing account and RS042 for a
	// missing user, in one 404; its current API reference shows RS042.
	errUserNotFound = &apiError{http.StatusNotFound, "User not found.", "USER_NOT_FOUND", "RS042"}
	// errConflict: SaaSquatch describes no body for 409, so none may be relied on.
	errConflict = &apiError{http.StatusConflict, "The idempotency key was used within the last 24 hours.", "IDEMPOTENCY_KEY_CONFLICT", ""}
	// errUserExists: RS048 is published, 409 is assumed.
	errUserExists = &apiError{http.StatusConflict, "The user exists already.", "USER_ALREADY_EXISTS", "RS048"}
	// errAccountFull: the limit and RS013 are published, 400 is assumed.
	errAccountFull = badRequestRS("RS013", "The account holds the maximum of %d users.", maxUsersPerAccount)
	// errDoNotTrack: RS050 is published, 400 is assumed.
	errDoNotTrack   = badRequestRS("RS050", "The user is marked as not to be tracked.")
	errBlankUser    = badRequestRS("RS043", "The user id must not be blank.")
	errBlankAccount = badRequestRS("RS044", "The account id must not be blank.")
)

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

// appendString appends text as a JSON string; what is not UTF-8 in it becomes U+FFFD.
func appendString[Text string | []byte](dst []byte, text Text) []byte {
	// The error only tells of invalid UTF-8.
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst
}
