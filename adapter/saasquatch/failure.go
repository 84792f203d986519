package saasquatch

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// apiError is SaaSquatch's error object: Error in its API definition, with the rsCode that its Java SDK has too. A
// JSON object is an error if it has a statusCode from 300 on, an apiErrorCode or an rsCode. A success has none of
// them: it has the members of the event or the user, and members inside of those do not count.
type apiError struct {
	Message string `json:"message"`
	// StatusCode is 0 if the object states none, or one below 300.
	StatusCode   int    `json:"statusCode"`
	APIErrorCode string `json:"apiErrorCode"`
	RSCode       string `json:"rsCode"`
	// stated is whether SaaSquatch answered with the object. For pages of proxies it is false, and the other members
	// are empty.
	stated bool
}

// failed reports whether the object's members make it an error.
func (e *apiError) failed() bool {
	return e.StatusCode >= 300 || e.APIErrorCode != "" || e.RSCode != ""
}

// errorMember is a member of the error object.
type errorMember uint8

const (
	noErrorMember errorMember = iota
	memberStatusCode
	memberAPIErrorCode
	memberRSCode
	memberMessage
)

// errorMemberOf returns the member with a name, which stands in quotes as in JSON.
func errorMemberOf(quoted []byte) errorMember {
	switch string(quoted) {
	case `"statusCode"`:
		return memberStatusCode
	case `"apiErrorCode"`:
		return memberAPIErrorCode
	case `"rsCode"`:
		return memberRSCode
	case `"message"`:
		return memberMessage
	default:
		return noErrorMember
	}
}

// set sets a member. A value of another kind than documented counts as missing.
func (e *apiError) set(member errorMember, value jsontext.Value) {
	switch member {
	case memberStatusCode:
		e.StatusCode = statedStatus(value)
	case memberAPIErrorCode:
		e.APIErrorCode = textOf(value)
	case memberRSCode:
		e.RSCode = textOf(value)
	case memberMessage:
		e.Message = textOf(value)
	}
}

// UnmarshalJSON never fails. It reads the members that an error has, as far as they have the documented kinds.
func (e *apiError) UnmarshalJSON(text []byte) error {
	var members map[string]jsontext.Value
	_ = json.Unmarshal(text, &members)
	for name, value := range members {
		e.set(errorMemberOf([]byte(`"`+name+`"`)), value)
	}
	return nil
}

// maxDetail bounds a detail, in bytes.
const maxDetail = 300

// detail describes the failure of an answer with the status. It hides private texts, which SaaSquatch's messages may
// quote.
func (e *apiError) detail(status int, private *mask) string {
	words := []string{"HTTP", strconv.Itoa(status)}
	if stated := e.StatusCode; status <= 299 && stated != 0 {
		words = append(words, "stating", strconv.Itoa(stated))
	}
	codes, message := e.words()
	return tidy(strings.Join(append(append(words, codes...), private.hide(message)), " "))
}

// words returns the error's codes, and its text that may quote anything. A code of another form than SaaSquatch's
// belongs to the text.
func (e *apiError) words() (codes []string, text string) {
	text = e.Message
	for _, code := range []string{e.APIErrorCode, e.RSCode} {
		if codeForm.MatchString(code) {
			codes = append(codes, code)
		} else {
			text = code + " " + text
		}
	}
	return codes, text
}

// codeForm matches SaaSquatch's codes. In a code there is no user id to hide.
var codeForm = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

// describe describes an answer that is not SaaSquatch's by its content type and its beginning.
func (r *response) describe(private *mask) string {
	if r.body.failure.stated {
		return r.body.failure.detail(r.status, private) + ": an error without a status"
	}
	start := "no body"
	if r.body.start != "" {
		start = private.hide(r.body.start)
	}
	return tidy(fmt.Sprintf("HTTP %d, which is not SaaSquatch's answer: %s, %s",
		r.status, cmp.Or(tidy(r.contentType), "no content type"), start))
}

// printable replaces control characters and invalid UTF-8 by spaces.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, text)
}

func cut(text string) string { return cutTo(text, maxDetail) }

func cutTo(text string, length int) string {
	if len(text) <= length {
		return text
	}
	text = text[:length]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text + "…"
}

// transportDetail describes a transport error with its remedy, and without the URL, which has the user's ids.
func transportDetail(err error, remedy string) string {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	text := printable(fmt.Sprint(err))
	if remedy == "" {
		return cut(text)
	}
	return cutTo(text, maxDetail-len("…: ")-len(remedy)) + ": " + remedy
}

// retryAfter reads a Retry-After header: seconds or an HTTP date. It returns 0 if the header is absent or unusable.
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
