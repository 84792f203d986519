package sandbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter/sandbox"
)

const (
	alias  = "test_abc123"
	apiKey = "TEST_s3cret"
	events = "/api/v1/test_abc123/open/account/a1/user/u1/events"
	userU1 = "/api/v1/test_abc123/open/account/a1/user/u1"
)

// clock is a clock that stands still until it is moved.
type clock struct{ now time.Time }

func newClock() *clock { return &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time { return c.now }

// open returns options with one tenant, any user and a standing clock.
func open() sandbox.Options {
	return sandbox.Options{
		Tenants: map[string]string{alias: apiKey},
		Users:   sandbox.AnyUser,
		Now:     newClock().Now,
	}
}

func newServer(t testing.TB, options sandbox.Options) *sandbox.Server {
	t.Helper()
	s, err := sandbox.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// newRequest returns a request like the adapter's.
func newRequest(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth("", apiKey)
	return r
}

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func send(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	return do(h, newRequest(method, path, body))
}

func eventBody(key string) string {
	idempotencyKey := ""
	if key != "" {
		idempotencyKey = fmt.Sprintf(`"idempotencyKey":%q,`, key)
	}
	return `{"userId":"u1","accountId":"a1",` + idempotencyKey +
		`"events":[{"key":"signedUp","fields":{"plan":"pro"},"dateTriggered":1538496397475}]}`
}

func wantStatus(t *testing.T, w *httptest.ResponseRecorder, want int) {
	t.Helper()
	if w.Code != want {
		t.Fatalf("status %d, want %d: %s", w.Code, want, w.Body)
	}
}

// wantBadRequest checks an answer of 400 with a code and a part of a message.
func wantBadRequest(t *testing.T, w *httptest.ResponseRecorder, rsCode, message string) {
	t.Helper()
	wantStatus(t, w, 400)
	e := readError(t, w)
	if *e.APIErrorCode != "BAD_REQUEST" || *e.RSCode != rsCode {
		t.Errorf("%s %q, want BAD_REQUEST %q", *e.APIErrorCode, *e.RSCode, rsCode)
	}
	if !strings.Contains(*e.Message, message) {
		t.Errorf("message %q does not say %q", *e.Message, message)
	}
}

// errorBody is the body of every error.
type errorBody struct {
	Message      *string `json:"message"`
	StatusCode   *int    `json:"statusCode"`
	APIErrorCode *string `json:"apiErrorCode"`
	RSCode       *string `json:"rsCode"`
}

func readError(t *testing.T, w *httptest.ResponseRecorder) errorBody {
	t.Helper()
	var e errorBody
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		t.Fatalf("error body: %v", err)
	}
	if e.Message == nil || e.StatusCode == nil || e.APIErrorCode == nil || e.RSCode == nil {
		t.Fatalf("error body lacks a member: %+v", e)
	}
	if *e.StatusCode != w.Code {
		t.Errorf("statusCode %d in an answer of %d", *e.StatusCode, w.Code)
	}
	if *e.Message == "" {
		t.Error("error without a message")
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("content type of error %q", got)
	}
	return e
}

func TestNewReportsAllFaults(t *testing.T) {
	_, err := sandbox.New(sandbox.Options{
		Tenants:   map[string]string{"": "k", "t": ""},
		Users:     9,
		MaxEvents: -1,
		Faults: sandbox.Faults{
			Fail:      []sandbox.FailRule{{Rate: 0.9, Status: 503}, {Rate: 0.1, Status: 200}},
			ResetRate: 0.5,
			Latency:   -1,
			Lost:      9,
		},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`tenant ""`, `tenant "t"`, "users", "max events", "status 200", "add up",
		"latency", "lost"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not speak of %q: %v", want, err)
		}
	}
}

func TestTenantsAndKeys(t *testing.T) {
	closed := open()
	anyTenant := open()
	anyTenant.Tenants = nil
	other := strings.Replace(events, alias, "other", 1)
	tests := []struct {
		name    string
		options sandbox.Options
		path    string
		prepare func(*http.Request)
		status  int
		code    string
		rsCode  string
	}{
		{"right key", closed, events, nil, 200, "", ""},
		{"any user name", closed, events,
			func(r *http.Request) { r.SetBasicAuth("AccountSID", apiKey) }, 200, "", ""},
		{"key as user name", closed, events, func(r *http.Request) { r.SetBasicAuth(apiKey, "") }, 401,
			"UNAUTHORIZED", ""},
		{"wrong key", closed, events, func(r *http.Request) { r.SetBasicAuth("", "TEST_s3creT") }, 401,
			"UNAUTHORIZED", ""},
		{"no key", closed, events, func(r *http.Request) { r.Header.Del("Authorization") }, 401, "UNAUTHORIZED", ""},
		{"bearer", closed, events, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+apiKey) }, 401,
			"UNAUTHORIZED", ""},
		{"unknown tenant", closed, other, nil, 404, "TENANT_NOT_FOUND", "RS045"},
		{"unknown tenant without key", closed, other, func(r *http.Request) { r.Header.Del("Authorization") }, 404,
			"TENANT_NOT_FOUND", "RS045"},
		{"any tenant", anyTenant, other, nil, 200, "", ""},
		{"any tenant, no key", anyTenant, other, func(r *http.Request) { r.SetBasicAuth("", "") }, 401,
			"UNAUTHORIZED", ""},
		{"any tenant, empty alias", anyTenant, strings.Replace(events, alias, "", 1), nil, 404,
			"TENANT_NOT_FOUND", "RS045"},
		{"no content type", closed, events, func(r *http.Request) { r.Header.Del("Content-Type") }, 415,
			"UNSUPPORTED_MEDIA_TYPE", "RS046"},
		{"content type of a form", closed, events,
			func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415,
			"UNSUPPORTED_MEDIA_TYPE", "RS046"},
		{"content type with charset", closed, events,
			func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8") }, 200, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, test.options)
			r := newRequest("POST", test.path, eventBody("key-0001"))
			if test.prepare != nil {
				test.prepare(r)
			}
			w := do(s, r)
			wantStatus(t, w, test.status)
			if test.status == 200 {
				return
			}
			if strings.Contains(w.Body.String(), apiKey) {
				t.Error("the answer shows the API key")
			}
			if got := w.Header().Get("Www-Authenticate"); (got != "") != (test.status == 401) {
				t.Errorf("Www-Authenticate %q", got)
			}
			e := readError(t, w)
			if *e.APIErrorCode != test.code || *e.RSCode != test.rsCode {
				t.Errorf("%s %s, want %s %s", *e.APIErrorCode, *e.RSCode, test.code, test.rsCode)
			}
			if n := s.Stats().EventsAccepted; n != 0 {
				t.Errorf("%d events accepted", n)
			}
		})
	}
}

// TestTenantNotFoundToTheLetter checks the only error with a known live answer.
func TestTenantNotFoundToTheLetter(t *testing.T) {
	w := send(newServer(t, open()), "POST", strings.Replace(events, alias, "no", 1), eventBody(""))
	const want = `{"message":"Missing or invalid tenant alias.","statusCode":404,` +
		`"apiErrorCode":"TENANT_NOT_FOUND",` +
		`"rsCode":"RS045"}`
	if got := w.Body.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestPathEscapes checks that an id reaches its own endpoint or none.
func TestPathEscapes(t *testing.T) {
	const prefix = "/api/v1/" + alias + "/open/account/"
	tests := []struct {
		path       string
		userID     string // of a request that arrives at its endpoint
		unexpected bool
	}{
		{path: "a1/user/u1/events", userID: "u1"},
		{path: "a1/user/..%2F..%2Fx/events", userID: "../../x"},
		{path: "a1/user/%2e%2e%2f%2E%2e/events", userID: "../.."},
		{path: "a1/user/a%2Fb/events", userID: "a/b"},
		{path: "a1/user/u1%2Fevents/events", userID: "u1/events"},
		{path: "a1/user/%3Fx%3D1%23y/events", userID: "?x=1#y"},
		{path: "a1/user/%252e%252e/events", userID: "%2e%2e"},
		{path: "a1/user/a%00b/events", userID: "a\x00b"},
		{path: "a1/user/u+1@x.io/events", userID: "u+1@x.io"},
		{path: "a1/user/.../events", userID: "..."},
		{path: "a1/user/%2e%2e/events", unexpected: true},
		{path: "a1/user/%2E/events", unexpected: true},
		{path: "a1/user/../events", unexpected: true},
		{path: "a1/user/./events", unexpected: true},
		{path: "%2e%2e/user/u1/events", unexpected: true},
		{path: "a1/user/u1/../events", unexpected: true},
		{path: "a1/user/u1/../../x/events", unexpected: true},
		{path: "a1/user/a/b/events", unexpected: true},
		{path: "a1/user/u1/events/", unexpected: true},
		{path: "a1/user/u1/Events", unexpected: true},
		{path: "a1//user/u1/events", unexpected: true},
		{path: "a1/user/u1/%65vents", unexpected: true},
	}
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			s := newServer(t, open())
			account := "a1"
			body, err := json.Marshal(map[string]any{"userId": test.userID, "accountId": account,
				"events": []any{map[string]any{"key": "k"}}})
			if err != nil {
				t.Fatal(err)
			}
			w := send(s, "POST", prefix+test.path, string(body))
			stats := s.Stats()
			if test.unexpected {
				wantStatus(t, w, 404)
				if e := readError(t, w); *e.APIErrorCode == "USER_NOT_FOUND" {
					t.Error("an unknown path looks like a missing user")
				}
				if stats.UnexpectedRequests != 1 || len(stats.UnexpectedPaths) != 1 ||
					stats.UnexpectedPaths[0] != "POST "+prefix+test.path {
					t.Errorf("unexpected: %d %q", stats.UnexpectedRequests, stats.UnexpectedPaths)
				}
				return
			}
			wantStatus(t, w, 200)
			all := s.Events()
			if len(all) != 1 || all[0].UserID != test.userID || all[0].AccountID != account ||
				all[0].TenantAlias != alias {
				t.Errorf("events: %+v", all)
			}
			if stats.UnexpectedRequests != 0 {
				t.Errorf("unexpected: %q", stats.UnexpectedPaths)
			}
		})
	}
}

func TestUnexpectedRequests(t *testing.T) {
	s := newServer(t, open())
	for _, r := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/", 404},
		{"GET", "/api/v1/" + alias, 404},
		{"GET", "/_sandboxes/stats", 404},
		{"GET", events, 405},
		{"DELETE", userU1, 405},
		{"PATCH", userU1, 405},
		{"POST", "/api/v1/" + alias + "/graphiql", 404},
		{"GET", "/api/v1/" + alias + "/graphql", 405},
		{"PUT", "/api/v1/" + alias + "/export/upload", 405},
		{"GET", "/api/v1/" + alias + "/export/job1", 404},
		{"POST", "/" + strings.Repeat("x", 5000), 404},
	} {
		w := send(s, r.method, r.path, "{}")
		wantStatus(t, w, r.status)
		readError(t, w)
	}
	if got := s.Stats().UnexpectedRequests; got != 11 {
		t.Errorf("%d unexpected requests, want 11", got)
	}
	for i := range 20 {
		send(s, "POST", fmt.Sprintf("/x%d", i), "{}")
	}
	stats := s.Stats()
	if n := len(stats.UnexpectedPaths); n != 10 || stats.UnexpectedPaths[9] != "POST /x19" ||
		stats.UnexpectedPaths[0] != "POST /x10" {
		t.Errorf("unexpected paths: %q", stats.UnexpectedPaths)
	}
	if send(s, "GET", "/_sandbox/nothing", "").Code != 404 || s.Stats().UnexpectedRequests != 31 {
		t.Error("a page that is not there counts as an unexpected request")
	}
}

func TestLargeBody(t *testing.T) {
	const limit = 1 << 20
	body := func(size int) string {
		head, tail := `{"userId":"u1","accountId":"a1","events":[{"key":"k"}],"pad":"`, `"}`
		return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
	}
	for _, chunked := range []bool{false, true} {
		for _, test := range []struct{ size, status int }{{limit, 200}, {limit + 1, 413}, {3 * limit, 413}} {
			t.Run(fmt.Sprintf("%d chunked=%v", test.size, chunked), func(t *testing.T) {
				s := newServer(t, open())
				server := httptest.NewServer(s)
				defer server.Close()
				r := newRequest("POST", server.URL+events, body(test.size))
				r.RequestURI = ""
				if chunked {
					r.ContentLength = -1
				}
				response, err := server.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				if response.StatusCode != test.status {
					t.Errorf("status %d, want %d", response.StatusCode, test.status)
				}
			})
		}
	}
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, errors.New("broken") }

func TestBrokenBody(t *testing.T) {
	r := httptest.NewRequest("POST", events, brokenBody{})
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth("", apiKey)
	r.ContentLength = 10
	wantStatus(t, do(newServer(t, open()), r), 400)
}

func TestResetForgetsEverything(t *testing.T) {
	s := newServer(t, open())
	start := s.Stats()
	wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 200)
	wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 409)
	wantStatus(t, send(s, "PUT", userU1, `{"id":"u1","accountId":"a1"}`), 200)
	send(s, "GET", "/nowhere", "")
	if err := s.Advance(time.Hour); err != nil {
		t.Fatal(err)
	}
	s.Reset()
	got := s.Stats()
	if !maps.Equal(got.ByStatus, start.ByStatus) || fmt.Sprint(got) != fmt.Sprint(start) {
		t.Errorf("after the reset: %+v\nat the start: %+v", got, start)
	}
	if n := len(s.Events()); n != 0 {
		t.Errorf("%d events are left", n)
	}
	wantStatus(t, send(s, "GET", userU1, ""), 404)
	wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 200)
	if seq := s.Events()[0].Seq; seq != 1 {
		t.Errorf("first event after the reset has number %d", seq)
	}
}

func TestAdvance(t *testing.T) {
	s := newServer(t, open())
	for _, by := range []time.Duration{-1, 11 * 365 * 24 * time.Hour} {
		if s.Advance(by) == nil {
			t.Errorf("advanced by %v", by)
		}
	}
	before := s.Stats().Now
	if err := s.Advance(90 * time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats().Now.Sub(before); got != 90*time.Minute {
		t.Errorf("clock moved by %v", got)
	}
}
