package saasquatch

import (
	"bytes"
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

	"github.com/go-json-experiment/json/jsontext"
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

// userExists reports whether a user or account was there already where one was to
// be created (RS021, RS048).
func (e apiError) userExists() bool { return e.RSCode == "RS021" || e.RSCode == "RS048" }

// detail describes the failure without the private texts, which SaaSquatch's
// messages may quote.
func (e apiError) detail(status int, private []string) string {
	message := strings.NewReplacer(private...).Replace(e.Message)
	text := strings.Join([]string{"HTTP", strconv.Itoa(status), e.APIErrorCode, e.RSCode, message}, " ")
	return cut(strings.Join(strings.Fields(printable(text)), " "))
}

// ids returns the ids of a user, each with what stands for it in a detail.
func ids(accountID, userID string) []string {
	return []string{userID, "[id]", accountID, "[id]"}
}

// minValue is the length from which on a value is told from a word of SaaSquatch's
// own by chance, in bytes.
const minValue = 4

// values returns the strings in the body of an upsert that are no names of members,
// each with what stands for it in a detail: an e-mail address must not show.
func values(body []byte) (pairs []string) {
	decoder := jsontext.NewDecoder(bytes.NewReader(body))
	for {
		token, err := decoder.ReadToken()
		if err != nil {
			return pairs
		}
		if token.Kind() != jsontext.KindString {
			continue
		}
		// An odd length inside an object means that this string is a name.
		if kind, length := decoder.StackIndex(decoder.StackDepth()); kind == jsontext.KindBeginObject && length%2 == 1 {
			continue
		}
		if text := token.String(); len(text) >= minValue {
			pairs = append(pairs, text, "[value]")
		}
	}
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
