package saasquatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

func newImporter(t *testing.T, handler http.HandlerFunc) *Importer {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return newImporterOf(t, Options{BaseURL: server.URL})
}

func newImporterOf(t *testing.T, opts Options) *Importer {
	t.Helper()
	opts.TenantAlias, opts.APIKey, opts.UserAgent = "test_tenant", adapter.NewSecret(testKey), "test"
	importer, err := NewImporter(opts)
	if err != nil {
		t.Fatal(err)
	}
	return importer
}

// answer returns a handler with a constant answer.
func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// reset reads the request and breaks the connection.
func reset(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
}

// refusedURL returns the URL of a port without a listener.
func refusedURL(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	return "http://" + listener.Addr().String()
}

// kind returns the kind of an error, by the caller's remedy.
func kind(t *testing.T, err error) string {
	t.Helper()
	var failure *adapter.APIError
	if !errors.As(err, &failure) {
		return fmt.Sprintf("not an APIError: %v", err)
	}
	if strings.Contains(err.Error(), testKey) || strings.Contains(err.Error(), "://") ||
		strings.Contains(err.Error(), "127.0.0.1") && failure.Reason != mapping.ReasonNetworkError {
		t.Errorf("the error tells too much: %v", err)
	}
	switch {
	case failure.Misconfigured && failure.Retryable:
		return "misconfigured and retryable"
	case failure.Misconfigured:
		return "misconfigured"
	case failure.Retryable:
		return "retryable"
	default:
		return "refused"
	}
}

func ambiguous(err error) bool {
	var failure *adapter.APIError
	return errors.As(err, &failure) && failure.Ambiguous()
}

// calls are the calls with one answer.
var calls = map[string]func(context.Context, *Importer) error{
	"upload": func(ctx context.Context, i *Importer) error {
		_, err := i.Upload(ctx, "events.jsonl", 2, text("{}"))
		return err
	},
	"validate": func(ctx context.Context, i *Importer) error {
		_, err := i.ValidateJob(ctx, adapter.JobInput{})
		return err
	},
	"create": func(ctx context.Context, i *Importer) error {
		_, err := i.CreateJob(ctx, adapter.JobInput{})
		return err
	},
	"job": func(ctx context.Context, i *Importer) error { _, err := i.Job(ctx, "j"); return err },
	"tenant": func(ctx context.Context, i *Importer) error {
		_, err := i.TenantMode(ctx)
		return err
	},
}

// TestCallsThatFail answers every call with every kind of failure.
func TestCallsThatFail(t *testing.T) {
	apiBody := func(status int, code, rs string) string {
		return fmt.Sprintf(`{"message":"Because\nof it","statusCode":%d,"apiErrorCode":%q,"rsCode":%q}`, status, code,
			rs)
	}
	const html = "<html><body>Bad</body></html>"
	tests := []struct {
		name      string
		handler   http.HandlerFunc
		kind      string
		ambiguous bool
		text      string // part of the error
	}{
		{"wrong key", answer(401, apiBody(401, "UNAUTHORIZED", "")), "misconfigured", false,
			"HTTP 401 UNAUTHORIZED Because of it"},
		{"forbidden", answer(403, html), "misconfigured", false, "HTTP 403"},
		{"wrong tenant", answer(404, apiBody(404, "TENANT_NOT_FOUND", "RS045")), "misconfigured", false,
			"HTTP 404 TENANT_NOT_FOUND RS045 Because of it"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/x", http.StatusTemporaryRedirect)
		}, "misconfigured", false, "HTTP 307"},
		{"bad request", answer(400, apiBody(400, "BAD_REQUEST", "")), "refused", false,
			"HTTP 400 BAD_REQUEST Because of it"},
		{"too large", answer(413, html), "refused", false, "HTTP 413"},
		{"conflict", answer(409, ""), "refused", false, "HTTP 409"},
		{"time out", answer(408, ""), "retryable", true, "HTTP 408"},
		{"rate limit", answer(429, ""), "retryable", false, "HTTP 429"},
		{"server error", answer(500, html), "retryable", true, "HTTP 500"},
		{"gateway", answer(502, html), "retryable", true, "HTTP 502"},
		{"success in HTML", answer(200, html), "retryable", true, "HTTP 200"},
		{"success without body", answer(200, ""), "retryable", true, "HTTP 200"},
		{"success of another kind", answer(200, "[]"), "retryable", true, "HTTP 200"},
		{"endless answer", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			chunk := []byte(strings.Repeat(" ", 64<<10))
			for range 64 {
				_, _ = w.Write(chunk)
			}
		}, "retryable", true, "longer than"},
		{"answer that breaks off", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"data":`)
		}, "retryable", true, ""},
		{"reset", reset, "retryable", true, ""},
	}
	for _, test := range tests {
		for name, call := range calls {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				importer := newImporter(t, test.handler)
				importer.here.(finalOnly).RoundTripper.(*http.Transport).ExpectContinueTimeout = time.Minute
				err := call(t.Context(), importer)
				if got := kind(t, err); got != test.kind || ambiguous(err) != test.ambiguous ||
					!strings.Contains(fmt.Sprint(err), test.text) {
					t.Errorf("got %s, ambiguous=%t, %v\nwant %s, ambiguous=%t, %s", got, ambiguous(err), err,
						test.kind, test.ambiguous, test.text)
				}
			})
		}
	}
}

func TestCallsWithoutConnection(t *testing.T) {
	importer := newImporterOf(t, Options{BaseURL: refusedURL(t)})
	for name, call := range calls {
		if err := call(t.Context(), importer); kind(t, err) != "retryable" || ambiguous(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCallsThatGetNoAnswer(t *testing.T) {
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			importer := newImporter(t, func(http.ResponseWriter, *http.Request) { <-release })
			defer close(release)
			// Long enough for a connection: without one no failure is ambiguous.
			importer.callTimeout, importer.stallTimeout = time.Second, time.Second
			err := call(t.Context(), importer)
			var failure *adapter.APIError
			if !errors.As(err, &failure) || failure.Reason != mapping.ReasonTimeout || !failure.Retryable ||
				!failure.Ambiguous() {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestCallsThatAreEnded checks that a caller can tell that it ended the call itself.
func TestCallsThatAreEnded(t *testing.T) {
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			importer := newImporter(t, func(_ http.ResponseWriter, r *http.Request) {
				cancel()
				if _, err := io.Copy(io.Discard, r.Body); err == nil {
					<-r.Context().Done() // no answer overtakes the end of the call
				}
			})
			if err := call(ctx, importer); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRetryAfterOfCalls(t *testing.T) {
	importer := newImporter(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(503)
	})
	for name, call := range calls {
		var failure *adapter.APIError
		if err := call(t.Context(), importer); !errors.As(err, &failure) || failure.RetryAfter != 7*time.Second {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewImporterRefusesBaseURLs(t *testing.T) {
	if _, err := NewImporter(Options{BaseURL: "ftp://host"}); err == nil {
		t.Error("no error")
	}
}

func TestImporterHasTheDocumentedTimeouts(t *testing.T) {
	for given, want := range map[time.Duration]time.Duration{0: time.Minute, time.Second: time.Minute,
		2 * time.Minute: 2 * time.Minute} {
		if got := newImporterOf(t, Options{AttemptTimeout: given}).callTimeout; got != want {
			t.Errorf("attempt timeout %v: got %v, want %v", given, got, want)
		}
	}
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, progress := watch(t.Context(), time.Minute, 2*time.Second)
		defer progress.end()
		for range 10 {
			<-time.After(1500 * time.Millisecond)
			progress.moves()
		}
		progress.rests()
		<-time.After(10 * time.Second)
		if ctx.Err() != nil {
			t.Fatalf("ended after %v: %v", time.Since(start), context.Cause(ctx))
		}
		progress.moves()
		<-ctx.Done()
		if since := time.Since(start); since != 27*time.Second ||
			context.Cause(ctx) != error(stalled{2 * time.Second}) {
			t.Errorf("ended after %v: %v", since, context.Cause(ctx))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, progress := watch(t.Context(), time.Minute, 2*time.Second)
		defer progress.end()
		progress.rests()
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			t.Errorf("ended: %v", context.Cause(ctx))
		}
	})
}

// text returns the opener of a file.
func text(content string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }
}

// graphQLRequest is the body of a request.
type graphQLRequest struct {
	Query     string          `json:"query"`
	Variables json.RawMessage `json:"variables"`
}
