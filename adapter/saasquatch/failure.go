package saasquatch

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// apiError is SaaSquatch's error object: Error in its API definition, with the rsCode
// that its Java SDK has too. A JSON object is one if it has a statusCode from 300 on,
// an apiErrorCode or an rsCode. None of them is a member of a success, which has the
// event's or the user's; what a member of those holds does not count.
type apiError struct {
	Message string `json:"message"`
	// StatusCode is 0 if the object states none, or one that is no failure's.
	StatusCode   int    `json:"statusCode"`
	APIErrorCode string `json:"apiErrorCode"`
	RSCode       string `json:"rsCode"`
	// stated says that SaaSquatch answered with the object. Pages of proxies leave
	// it false, and the other members empty.
	stated bool
}

// failed reports whether the object's members make it an error.
func (e *apiError) failed() bool {
	return e.StatusCode >= 300 || e.APIErrorCode != "" || e.RSCode != ""
}

// maxDetail bounds a detail, in bytes.
const maxDetail = 300

// detail describes the failure to an answer with the status, without what is private:
// SaaSquatch's messages may quote it.
func (e *apiError) detail(status int, private *mask) string {
	words := []string{"HTTP", strconv.Itoa(status)}
	if stated := e.StatusCode; status <= 299 && stated != 0 {
		words = append(words, "stating", strconv.Itoa(stated))
	}
	message := e.Message
	for _, code := range []string{e.APIErrorCode, e.RSCode} {
		if isCode(code) {
			words = append(words, code)
		} else {
			message = code + " " + message
		}
	}
	return tidy(strings.Join(append(words, private.hide(message)), " "))
}

// isCode reports whether a text has the form of SaaSquatch's codes, which none of a
// user's ids need be hidden in.
func isCode(text string) bool {
	for i := range len(text) {
		if c := text[i]; !('A' <= c && c <= 'Z' || i > 0 && ('0' <= c && c <= '9' || c == '_')) {
			return false
		}
	}
	return 0 < len(text) && len(text) <= 64
}

// describe tells of an answer that is not SaaSquatch's: what it calls itself, and how
// it begins.
func (r *response) describe(private *mask) string {
	if r.body.failure.stated {
		return r.body.failure.detail(r.status, private) + ": an error without a status"
	}
	start := "no body"
	if r.body.start != "" {
		start = private.hide(r.body.start)
	}
	return tidy(fmt.Sprintf("HTTP %d, which is not SaaSquatch's answer: %s, %s", r.status, cmp.Or(tidy(r.contentType), "no content type"), start))
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

// transportDetail describes a transport error without the URL, which holds the
// ids of the user, and says what to do.
func transportDetail(err error, remedy string) string {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	text := printable(fmt.Sprint(err))
	if remedy == "" {
		return cut(text)
	}
	return cutTo(text, maxDetail-len("…: ")-len(remedy)) + ": " + remedy
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
