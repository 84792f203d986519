package saasquatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"segment-saasquatch/mapping"
)

// apiError is the body of SaaSquatch's errors. Proxies in between answer with
// other bodies, which leave it empty.
type apiError struct {
	Message string `json:"message"`
	// StatusCode is for answers of GraphQL, whose HTTP status is 200.
	StatusCode   int    `json:"statusCode"`
	APIErrorCode string `json:"apiErrorCode"`
	RSCode       string `json:"rsCode"`
}

// readError reads the body of an answer that is no success.
func readError(body io.Reader) apiError {
	var failure apiError
	text, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err == nil {
		// A member of another type than expected leaves the others readable.
		_ = json.Unmarshal(text, &failure)
	}
	return failure
}

// tenantUnknown reports whether the tenant alias is wrong. SaaSquatch answers
// 404 TENANT_NOT_FOUND RS045 to an unknown alias; RS015, RS031 and RS038 say the
// same in its list of errors.
func (e apiError) tenantUnknown() bool {
	if e.APIErrorCode == "TENANT_NOT_FOUND" {
		return true
	}
	switch e.RSCode {
	case "RS015", "RS031", "RS038", "RS045":
		return true
	}
	return false
}

// doNotTrack reports whether the user was deleted and must not come back.
func (e apiError) doNotTrack() bool { return e.RSCode == "RS050" }

// maxDetail bounds a detail, in bytes.
const maxDetail = 300

// detail describes the failure without the ids of the user, which SaaSquatch's
// messages may quote.
func (e apiError) detail(status int, event *mapping.UserEvent) string {
	message := strings.NewReplacer(event.UserID, "[id]", event.AccountID, "[id]").Replace(e.Message)
	text := strings.Join([]string{"HTTP", strconv.Itoa(status), e.APIErrorCode, e.RSCode, message}, " ")
	return cut(strings.Join(strings.Fields(printable(text)), " "))
}

// printable replaces control characters and what is not UTF-8.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, text)
}

func cut(text string) string {
	if len(text) <= maxDetail {
		return text
	}
	text = text[:maxDetail]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text + "…"
}

// transportDetail describes a transport error without the URL, which holds the
// ids of the user.
func transportDetail(err error) string {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return cut(printable(fmt.Sprint(err)))
}

// retryAfter reads a Retry-After header: seconds or an HTTP date. It returns 0 if
// the header is absent or says nothing usable.
func retryAfter(value string, now func() time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now()))
	}
	return 0
}
