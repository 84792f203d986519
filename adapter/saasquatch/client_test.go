package saasquatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

const testKey = "TEST_the-secret-key"

func newClient(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := New(Options{
		BaseURL:        server.URL,
		TenantAlias:    "test_tenant",
		APIKey:         adapter.NewSecret(testKey),
		UserAgent:      "test",
		AttemptTimeout: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func testEvent(userID string) *mapping.UserEvent {
	return &mapping.UserEvent{UserID: userID, AccountID: "account " + userID, IdempotencyKey: "12345678",
		Body: []byte(`{"a":1}`)}
}

func TestTrackMakesTheDocumentedRequest(t *testing.T) {
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		user, password, ok := r.BasicAuth()
		got := fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Header.Get("Content-Type"), " ", string(body), " ", user,
			":", password, " ", ok, err)
		want := `POST /api/v1/test_tenant/open/account/account%20u1/user/u1/events application/json {"a":1} :` +
			testKey + ` true <nil>`
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
	if got := client.Track(t.Context(), testEvent("u1")); got.Outcome != adapter.Delivered || got.Status != 200 {
		t.Errorf("got %+v", got)
	}
}

// TestNoIDLeavesItsPlace checks that every id arrives as one segment of the path, byte for byte.
func TestNoIDLeavesItsPlace(t *testing.T) {
	var got string
	client := newClient(t, func(_ http.ResponseWriter, r *http.Request) { got = r.RequestURI })
	ids := []string{"../../../x", "...", "a/b", `a\b`, "a?b=c", "a#b", "a%2Fb", "%2e%2e", "a b", "a+b", "a@b.c",
		"a:b;c=d&e$f,g", "日本", "\u00a0", "/", "//", "~-._", "x/../../y", "a\u2028b"}
	for c := range 128 {
		if c >= ' ' && c < 0x7f && c != '.' {
			ids = append(ids, string(rune(c)))
		}
	}
	for _, id := range ids {
		client.Track(t.Context(), testEvent(id))
		path, ok := strings.CutPrefix(got, "/api/v1/test_tenant/open/account/")
		segments := strings.Split(path, "/")
		if !ok || len(segments) != 4 || segments[1] != "user" || segments[3] != "events" {
			t.Errorf("id %q: request for %s", id, got)
			continue
		}
		if user, err := url.PathUnescape(segments[2]); err != nil || user != id {
			t.Errorf("id %q arrived as %q", id, user)
		}
		if strings.ContainsFunc(segments[2], func(r rune) bool {
			return r != '%' && (r > 127 || !unreserved(byte(r)))
		}) {
			t.Errorf("id %q: segment %q has more than unreserved characters", id, segments[2])
		}
	}
}

func FuzzEscapeSegment(f *testing.F) {
	f.Add("../x?y#z%2f")
	f.Fuzz(func(t *testing.T, id string) {
		escaped := escapeSegment(id)
		if back, err := url.PathUnescape(escaped); err != nil || back != id {
			t.Errorf("%q became %q, back %q (%v)", id, escaped, back, err)
		}
		if strings.ContainsAny(escaped, "/?#\\ ") {
			t.Errorf("%q became %q", id, escaped)
		}
	})
}

func TestErrorsAreReadAndDescribed(t *testing.T) {
	tests := []struct {
		status  int
		body    string
		outcome adapter.Outcome
		detail  string
	}{
		{400, `{"message":"User 'secret-user' is bad","statusCode":400,"apiErrorCode":"BAD_REQUEST","rsCode":"RS043"}`,
			adapter.Dead, "HTTP 400 BAD_REQUEST RS043 User '[id]' is bad"},
		{404, `{"message":"Missing or invalid tenant alias.","statusCode":404,"apiErrorCode":"TENANT_NOT_FOUND",` +
			`"rsCode":"RS045"}`, adapter.Pending, "HTTP 404 TENANT_NOT_FOUND RS045 Missing or invalid tenant alias."},
		{404, `{"message":5,"apiErrorCode":"TENANT_NOT_FOUND"}`, adapter.Pending, "HTTP 404 TENANT_NOT_FOUND"},
		{502, "<html>Bad Gateway</html>", adapter.Pending, "HTTP 502"},
		{500, "", adapter.Pending, "HTTP 500"},
		{400, `{"message":"line\nbreak\u0000","statusCode":400}`, adapter.Dead, "HTTP 400 line break"},
		{400, `{"message":"` + strings.Repeat("é", 500) + `","rsCode":"RS043"}`, adapter.Dead, "HTTP 400 RS043 " +
			strings.Repeat("é", 142) + "…"},
	}
	for _, test := range tests {
		client := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		})
		got := client.Track(t.Context(), testEvent("secret-user"))
		if got.Outcome != test.outcome || got.Detail != test.detail || got.RetryAfter != 3*time.Second {
			t.Errorf("%d %.80s:\n got %v %q %v\nwant %v %q", test.status, test.body, got.Outcome, got.Detail,
				got.RetryAfter, test.outcome, test.detail)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		requests := 0
		client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
			requests++
			http.Redirect(w, r, "/elsewhere", status)
		})
		got := client.Track(t.Context(), testEvent("u1"))
		if requests != 1 || got.Reason != mapping.ReasonRedirected || !got.Misconfigured {
			t.Errorf("%d: %d requests, %+v", status, requests, got)
		}
	}
}

func TestNoAnswer(t *testing.T) {
	t.Run("reset", func(t *testing.T) {
		client := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = conn.(*net.TCPConn).SetLinger(0)
				_ = conn.Close()
			}
		})
		if got := client.Track(t.Context(), testEvent("u1")); got.Reason != mapping.ReasonNetworkError ||
			got.Outcome != adapter.Pending || got.Unprocessed {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		release := make(chan struct{})
		client := newClient(t, func(http.ResponseWriter, *http.Request) { <-release })
		defer close(release)
		client.timeout = 20 * time.Millisecond
		if got := client.Track(t.Context(), testEvent("u1")); got.Reason != mapping.ReasonTimeout ||
			got.Outcome != adapter.Pending || got.Unprocessed {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener.Close()
		client, err := New(Options{BaseURL: "http://" + listener.Addr().String(), TenantAlias: "t", UserAgent: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if got := client.Track(context.Background(), testEvent("u1")); got.Reason != mapping.ReasonNetworkError ||
			!got.Unprocessed {
			t.Errorf("got %+v", got)
		}
	})
}

// TestNoConnection checks that an event counts as unprocessed if it was never sent, for any cause.
func TestNoConnection(t *testing.T) {
	never := func(t *testing.T) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the event was sent") })
	}
	silent := log.New(io.Discard, "", 0)
	for name, connect := range map[string]func(t *testing.T, client *Client, transport *http.Transport){
		"unknown host": func(_ *testing.T, _ *Client, transport *http.Transport) {
			transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "host",
					IsNotFound: true}}
			}
		},
		"certificate": func(t *testing.T, client *Client, _ *http.Transport) {
			server := httptest.NewUnstartedServer(never(t))
			server.Config.ErrorLog = silent
			server.StartTLS()
			t.Cleanup(server.Close)
			client.scheme, client.host = "https", server.Listener.Addr().String()
		},
		"no TLS": func(t *testing.T, client *Client, _ *http.Transport) {
			server := httptest.NewServer(never(t))
			t.Cleanup(server.Close)
			client.scheme, client.host = "https", server.Listener.Addr().String()
		},
		"proxy refuses": func(t *testing.T, client *Client, transport *http.Transport) {
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodConnect {
					t.Errorf("the proxy got %s", r.Method)
				}
				w.WriteHeader(http.StatusForbidden)
			}))
			t.Cleanup(proxy.Close)
			client.scheme = "https"
			target, err := url.Parse(proxy.URL)
			transport.Proxy = func(*http.Request) (*url.URL, error) { return target, err }
		},
		"time over": func(_ *testing.T, client *Client, transport *http.Transport) {
			client.timeout = 20 * time.Millisecond
			transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, errors.New("dial given up")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, never(t).ServeHTTP)
			connect(t, client, client.transport.(finalOnly).RoundTripper.(*http.Transport))
			if got := client.Track(t.Context(), testEvent("u1")); !got.Unprocessed || got.Outcome != adapter.Pending ||
				got.Status != 0 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestBrokenConnectionIsAmbiguous checks that an event does not count as unprocessed if it was sent over a connection
// of HTTP/2 that breaks.
func TestBrokenConnectionIsAmbiguous(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic(http.ErrAbortHandler)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	client, err := New(Options{BaseURL: server.URL, TenantAlias: "t", UserAgent: "test",
		TLS: server.Client().Transport.(*http.Transport).TLSClientConfig})
	if err != nil {
		t.Fatal(err)
	}
	if got := client.Track(t.Context(), testEvent("u1")); got.Reason != mapping.ReasonNetworkError || got.Unprocessed {
		t.Errorf("got %+v", got)
	}
}

func TestHTTP2(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.URL.EscapedPath() != "/api/v1/t/open/account/account%20a%2Fb/user/a%2Fb/events" {
			t.Errorf("HTTP/%d %s", r.ProtoMajor, r.URL.EscapedPath())
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	client, err := New(Options{BaseURL: server.URL, TenantAlias: "t", UserAgent: "test",
		TLS: server.Client().Transport.(*http.Transport).TLSClientConfig})
	if err != nil {
		t.Fatal(err)
	}
	if got := client.Track(t.Context(), testEvent("a/b")); got.Outcome != adapter.Delivered {
		t.Errorf("got %+v", got)
	}
}

func TestNewRefusesBaseURLs(t *testing.T) {
	for _, base := range []string{"ftp://host", "host", "https://", "://"} {
		if _, err := New(Options{BaseURL: base}); err == nil {
			t.Errorf("%q: no error", base)
		}
	}
}
