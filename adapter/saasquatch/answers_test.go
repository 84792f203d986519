package saasquatch_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/saasquatch"
	"segment-saasquatch/mapping"
)

// shape is a shape of an answer's body.
type shape struct {
	contentType string
	body        string
	// How the body is cut off: the header promises more, a chunk is missing, or it ends with the connection.
	cut cut
	// plain: a 2xx with the body is a success.
	plain bool
	// embedded is the status by which a 2xx counts instead, 0 if there is none.
	embedded int
	// object: the body has SaaSquatch's error object.
	object bool
	// codes that come before the status
	code string
}

type cut int

const (
	uncut cut = iota
	tooShort
	missingChunk
	closed
)

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

func inUTF16(text string) string {
	b := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(text)) {
		b = append(b, byte(unit), byte(unit>>8))
	}
	return string(b)
}

const (
	htmlType   = "text/html; charset=utf-8"
	plainJSON  = "application/json"
	page       = "<html><body><h1>Down for maintenance</h1></body></html>"
	eventTaken = `{"userId":"u","accountId":"u","events":[{"id":"1","key":"x","fields":{"statusCode":400,` +
		`"apiErrorCode":"BAD_REQUEST"},"dateTriggered":1}]}`
	userTaken = `{"id":"u","accountId":"u","customFields":{"rsCode":"RS050"}}`
)

// shapes are the bodies of answers by SaaSquatch, gateways and proxies.
var shapes = map[string]shape{
	"none":   {plain: true},
	"space":  {contentType: plainJSON, body: " \r\n", plain: true},
	"event":  {contentType: plainJSON, body: eventTaken, plain: true},
	"user":   {contentType: plainJSON, body: userTaken, plain: true},
	"object": {contentType: plainJSON, body: "{}", plain: true},
	"object, status 200": {contentType: plainJSON, body: `{"statusCode":200,"message":"ok","apiErrorCode":"",` +
		`"rsCode":null}`, plain: true},
	"object as HTML":     {contentType: htmlType, body: "{}", plain: true},
	"object after a BOM": {contentType: plainJSON, body: "\ufeff" + eventTaken, plain: true},
	"object, gzip":       {contentType: plainJSON, body: zipped(eventTaken), plain: true},
	"object, not UTF-8":  {contentType: plainJSON, body: "{\"a\":\"\xff\",\"a\":1}", plain: true},
	"object, long": {contentType: plainJSON, body: `{"a":"` + strings.Repeat("x", 300<<10) + `"}`,
		plain: true},
	"object, too short":    {contentType: plainJSON, body: "{}", cut: tooShort, plain: true},
	"object cut off":       {contentType: plainJSON, body: `{"userId":"u","ev`, cut: tooShort, plain: true},
	"chunked cut off":      {contentType: plainJSON, body: `{"userId":"u",`, cut: missingChunk, plain: true},
	"gzip cut off":         {contentType: plainJSON, body: zipped(eventTaken)[:60], cut: tooShort, plain: true},
	"nothing but a header": {contentType: htmlType, cut: tooShort, plain: true},
	"closed":               {contentType: plainJSON, body: eventTaken, cut: closed, plain: true},

	"page":               {contentType: htmlType, body: page},
	"page as JSON":       {contentType: plainJSON, body: page},
	"page, gzip":         {contentType: htmlType, body: zipped(page)},
	"page, long":         {contentType: htmlType, body: page + strings.Repeat(" ", 300<<10)},
	"page cut off":       {contentType: htmlType, body: page, cut: tooShort},
	"text":               {contentType: "text/plain", body: "ok"},
	"array":              {contentType: plainJSON, body: "[]"},
	"array of errors":    {contentType: plainJSON, body: `[{"statusCode":400}]`},
	"string":             {contentType: plainJSON, body: `"ok"`},
	"null":               {contentType: plainJSON, body: "null"},
	"number":             {contentType: plainJSON, body: "1"},
	"trailing garbage":   {contentType: plainJSON, body: "{} <!-- proxy -->"},
	"two objects":        {contentType: plainJSON, body: "{}\n{}"},
	"object that ends":   {contentType: plainJSON, body: `{"userId":"u",`},
	"object, UTF-16":     {contentType: plainJSON, body: inUTF16("{}")},
	"no JSON":            {contentType: plainJSON, body: "{userId:1}"},
	"deep":               {contentType: plainJSON, body: `{"a":` + strings.Repeat("[", 20_000)},
	"looks like gzip":    {contentType: plainJSON, body: "\x1f\x8bno gzip at all"},
	"error, UTF-16":      {contentType: plainJSON, body: inUTF16(`{"statusCode":400}`)},
	"error of a gateway": {contentType: plainJSON, body: `{"message":"Not Found"}`, plain: true},
	"error within":       {contentType: plainJSON, body: `{"error":{"statusCode":404,"rsCode":"RS042"}}`, plain: true},

	"error 400": {contentType: plainJSON, body: `{"statusCode":400,"message":"no",` +
		`"apiErrorCode":"BAD_REQUEST"}`, object: true, embedded: 400, code: "BAD_REQUEST"},
	"error 400, gzip": {contentType: plainJSON, body: zipped(`{"statusCode":400,"message":"no"}`), object: true,
		embedded: 400},
	"error 400 as text": {contentType: "text/plain", body: "\ufeff" + ` {"message":"no","statusCode":"400"}`,
		object: true, embedded: 400},
	"error 409": {contentType: plainJSON, body: `{"statusCode":409,"message":"again"}`, object: true,
		embedded: 409},
	"error 429": {contentType: plainJSON, body: `{"statusCode":429,"message":"slow"}`, object: true,
		embedded: 429},
	"error 503": {contentType: plainJSON, body: `{"statusCode":503,"message":"down"}`, object: true,
		embedded: 503},
	"error 404": {contentType: plainJSON, body: `{"message":5,"statusCode":404}`, object: true,
		embedded: 404},
	"error 401": {contentType: plainJSON, body: `{"statusCode":401}`, object: true, embedded: 401},
	"tenant unknown": {contentType: plainJSON, body: `{"message":"Missing or invalid tenant alias.",` +
		`"statusCode":404,"apiErrorCode":"TENANT_NOT_FOUND","rsCode":"RS045"}`, object: true, embedded: 404,
		code: "TENANT_NOT_FOUND"},
	"do not track": {contentType: plainJSON, body: `{"rsCode":"RS050"}`, object: true, embedded: 400,
		code: "RS050"},
	"user unknown": {contentType: plainJSON, body: `{"rsCode":"RS042"}`, object: true, embedded: 404,
		code: "RS042"},
	"error cut off": {contentType: plainJSON, body: `{"statusCode":404,"rsCode":"RS042","mess`, cut: tooShort,
		object: true, embedded: 404, code: "RS042"},
	"error of no status": {contentType: plainJSON, body: `{"apiErrorCode":"SOMETHING_NEW"}`, object: true,
		code: "SOMETHING_NEW"},
}

// verdict is the meaning of an answer.
type verdict struct {
	outcome                             adapter.Outcome
	reason                              mapping.Reason
	misconfigured, foreign, unprocessed bool
}

// wantAnswer returns the verdict on an answer to an event with a key, or to an upsert.
func wantAnswer(status int, s shape, upsert bool) verdict {
	if status <= 299 {
		switch {
		case s.plain:
			return verdict{outcome: adapter.Delivered}
		case s.embedded == 0:
			return verdict{outcome: adapter.Pending, reason: mapping.ReasonUnexpectedAnswer}
		}
		status = s.embedded
	}
	refusal := 400 <= status && status <= 499
	switch {
	case 300 <= status && status <= 399:
		return verdict{adapter.Pending, mapping.ReasonRedirected, true, false, true}
	case status == 401:
		return verdict{adapter.Pending, mapping.ReasonUnauthorized, true, false, true}
	case status == 409 && !upsert:
		return verdict{outcome: adapter.Duplicate, reason: mapping.ReasonConflict}
	case refusal && s.code == "RS050":
		return verdict{outcome: adapter.Dead, reason: mapping.ReasonDoNotTrack}
	case refusal && s.code == "TENANT_NOT_FOUND":
		return verdict{adapter.Pending, mapping.ReasonTenantNotFound, true, false, true}
	case status == 409:
		return verdict{outcome: adapter.Delivered}
	case status == 403:
		return verdict{adapter.Pending, mapping.ReasonForbidden, true, false, true}
	case status == 408 || status == 425:
		return verdict{outcome: adapter.Pending, reason: mapping.ReasonTimeout}
	case status == 429:
		return verdict{outcome: adapter.Pending, reason: mapping.ReasonRateLimited, unprocessed: true}
	case status >= 500:
		return verdict{outcome: adapter.Pending, reason: mapping.ReasonServerError}
	case !s.object:
		return verdict{adapter.Pending, mapping.ReasonUnexpectedAnswer, false, true, true}
	case status == 404 && upsert && s.code == "":
		return verdict{adapter.Pending, mapping.ReasonTenantNotFound, true, false, true}
	case status == 404 && !upsert:
		return verdict{outcome: adapter.Dead, reason: mapping.ReasonUserNotFound}
	default:
		return verdict{outcome: adapter.Dead, reason: mapping.ReasonRefused}
	}
}

// write answers with the status and the shape.
func (s shape) write(w http.ResponseWriter, status int) {
	header := w.Header()
	header.Set("Content-Type", s.contentType)
	if s.cut == uncut {
		header.Set("Content-Length", strconv.Itoa(len(s.body)))
		w.WriteHeader(status)
		_, _ = w.Write([]byte(s.body))
		return
	}
	conn, out, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprintf(out, "HTTP/1.1 %d Status\r\nContent-Type: %s\r\nConnection: close\r\n", status, s.contentType)
	switch s.cut {
	case tooShort:
		fmt.Fprintf(out, "Content-Length: %d\r\n\r\n%s", len(s.body)+100, s.body)
	case missingChunk:
		fmt.Fprintf(out, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(s.body), s.body)
	case closed:
		fmt.Fprintf(out, "\r\n%s", s.body)
	}
	_ = out.Flush()
}

// TestEveryAnswer checks the verdict on every status with every shape of a body, for events and upserts.
func TestEveryAnswer(t *testing.T) {
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				text, _, _ := strings.Cut(r.URL.Path[strings.Index(r.URL.Path, "/user/")+len("/user/"):], "/")
				status, err := strconv.Atoi(text)
				if err != nil {
					t.Error(err)
				}
				shape.write(w, status)
			}))
			defer server.Close()
			client, err := saasquatch.New(saasquatch.Options{BaseURL: server.URL, TenantAlias: "test_tenant",
				UserAgent: "test"})
			if err != nil {
				t.Fatal(err)
			}
			for status := 200; status <= 599; status++ {
				sent := shape
				if status == 204 || status == 304 { // HTTP knows no body of these
					sent = shapes["none"]
				}
				id := strconv.Itoa(status)
				event := client.Track(t.Context(), &mapping.UserEvent{UserID: id, AccountID: id,
					IdempotencyKey: "12345678", Body: []byte("{}")})
				upsert := client.Upsert(t.Context(), &mapping.UserUpsert{UserID: id, AccountID: id,
					Body: []byte("{}")})
				for kind, got := range map[string]adapter.Attempt{"event": event, "upsert": upsert} {
					want := wantAnswer(status, sent, kind == "upsert")
					if is := (verdict{got.Outcome, got.Reason, got.Misconfigured, got.Foreign,
						got.Unprocessed}); is != want || got.Status != status {
						t.Errorf("%d to an %s: got %+v\nwant %+v", status, kind, got, want)
					}
					if (got.Detail == "") != (got.Outcome == adapter.Delivered) {
						t.Errorf("%d to an %s: detail %q", status, kind, got.Detail)
					}
				}
			}
		})
	}
}
