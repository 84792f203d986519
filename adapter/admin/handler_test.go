package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// scripted has the operations that a test scripts.
type scripted struct {
	adapter.Operations
	scan   adapter.Scan
	export func(yield func(*adapter.Delivery) error) error
	purge  func() (*adapter.Purge, error)
	verify func() ([]adapter.Conservation, error)
}

func (s *scripted) Scans(context.Context, adapter.Filter) (adapter.Scan, error) { return s.scan, nil }

func (s *scripted) Verify(context.Context) ([]adapter.Conservation, error) { return s.verify() }

func (s *scripted) Export(_ context.Context, _ adapter.Filter, _ int, yield func(*adapter.Delivery) error) error {
	return s.export(yield)
}

func (s *scripted) Purge(context.Context, adapter.Filter, int, bool) (*adapter.Purge, error) {
	return s.purge()
}

// serveScripted serves the operations and returns the URL and the log.
func serveScripted(t *testing.T, operations adapter.Operations) (string, *observer.ObservedLogs) {
	t.Helper()
	core, log := observer.New(zapcore.DebugLevel)
	server := httptest.NewUnstartedServer(New(Options{
		Operations: operations, Tokens: []adapter.Secret{adapter.NewSecret("an-older-token-of-sixteen"),
			adapter.NewSecret(token)},
		Metrics: NewMetrics(), Log: zap.New(core),
	}))
	server.Config.MaxHeaderBytes = 4 << 10
	server.Start()
	t.Cleanup(server.Close)
	return server.URL, log
}

// ask makes a request with the authorization, empty for none, and returns the answer and its body.
func ask(t *testing.T, method, url, authorization string, body io.Reader) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

func newTestClient(t *testing.T, url string) *Client {
	t.Helper()
	client, err := NewClient(url, adapter.NewSecret(token))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestBodyIsRefused: the API refuses a body, since it would ignore a filter or dry_run in it.
func TestBodyIsRefused(t *testing.T) {
	purged := 0
	url, _ := serveScripted(t, &scripted{purge: func() (*adapter.Purge, error) {
		purged++
		return &adapter.Purge{}, nil
	}})
	for _, test := range []struct {
		name string
		body io.Reader
		want int
	}{
		{"none", nil, http.StatusOK},
		{"JSON", strings.NewReader(`{"dry_run":true}`), http.StatusBadRequest},
		{"a form", strings.NewReader("dry_run=true"), http.StatusBadRequest},
		{"without a length", io.MultiReader(strings.NewReader("x")), http.StatusBadRequest},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := purged
			response, _ := ask(t, http.MethodPost, url+"/admin/v1/purge?outcome=dead", "Bearer "+token, test.body)
			if did := purged > before; response.StatusCode != test.want || did != (test.want == http.StatusOK) {
				t.Errorf("got %s, purged: %v", response.Status, did)
			}
		})
	}
}

// TestExportFailsMidway: if the server stops midway, the client does not take the export for complete.
func TestExportFailsMidway(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("a secret of the disk") },
		"panic": func() error { panic("a fault") },
	} {
		t.Run(name, func(t *testing.T) {
			url, log := serveScripted(t, &scripted{export: func(yield func(*adapter.Delivery) error) error {
				for id := range int64(3) {
					if err := yield(&adapter.Delivery{ID: 3 - id, Outcome: adapter.Dead,
						Detail: strings.Repeat("x", 10_000)}); err != nil {
						return err
					}
				}
				return fail()
			}})
			came := 0
			err := newTestClient(t, url).Export(t.Context(), adapter.Filter{}, 0,
				func(*adapter.Delivery) error { came++; return nil })
			if err == nil || came != 3 || !strings.Contains(err.Error(), "broke off after 3") {
				t.Errorf("%d came: %v", came, err)
			}
			if log.FilterLevelExact(zapcore.ErrorLevel).Len() != 1 {
				t.Errorf("logged %v", log.All())
			}
		})
	}
	// Before the first delivery the server still answers, without the cause.
	url, _ := serveScripted(t, &scripted{export: func(func(*adapter.Delivery) error) error {
		return errors.New("a secret of the disk")
	}})
	err := newTestClient(t, url).Export(t.Context(), adapter.Filter{}, 0, nil)
	if err == nil || !strings.Contains(err.Error(), "500") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}

// TestAuditLines: each action has one line in the log, a failed one too.
func TestAuditLines(t *testing.T) {
	var purged *adapter.Purge
	var purgeErr error
	url, log := serveScripted(t, &scripted{purge: func() (*adapter.Purge, error) { return purged, purgeErr }})
	client := newTestClient(t, url)
	filter := adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead, adapter.Rejected}, UserID: "u&x=1"}
	for _, test := range []struct {
		name   string
		purged *adapter.Purge
		err    error
		dry    bool
		level  zapcore.Level
		want   map[string]any
	}{
		{"done", &adapter.Purge{Purged: map[adapter.Outcome]int{adapter.Dead: 2, adapter.Rejected: 3}}, nil, false,
			zapcore.InfoLevel,
			map[string]any{"dry_run": false, "purged": int64(5)}},
		{"dry", &adapter.Purge{}, nil, true, zapcore.InfoLevel, map[string]any{"dry_run": true, "purged": int64(0)}},
		{"refused", nil, &adapter.RefusedError{Problem: "no"}, false, zapcore.WarnLevel,
			map[string]any{"dry_run": false, "error": "no"}},
		{"in part", &adapter.Purge{Purged: map[adapter.Outcome]int{adapter.Dead: 2}}, errors.New("disk"), false,
			zapcore.ErrorLevel,
			map[string]any{"dry_run": false, "purged": int64(2), "error": "disk"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			log.TakeAll()
			purged, purgeErr = test.purged, test.err
			if _, err := client.Purge(t.Context(), filter, 7, test.dry); (err == nil) != (test.err == nil) {
				t.Errorf("got %v", err)
			}
			lines := log.TakeAll()
			if len(lines) != 1 || lines[0].Message != "admin action" || lines[0].Level != test.level {
				t.Fatalf("logged %v", lines)
			}
			fields := lines[0].ContextMap()
			if remote, _ := fields["remote"].(string); !strings.HasPrefix(remote, "127.0.0.1:") {
				t.Errorf("remote is %q", remote)
			}
			delete(fields, "remote")
			test.want["action"], test.want["token"] = "purge", int64(1)
			test.want["filter"] = []any{"limit", "outcome", "user"} // and none of the values
			for name, want := range test.want {
				if !reflect.DeepEqual(fields[name], want) {
					t.Errorf("%s is %v, want %v", name, fields[name], want)
				}
			}
			if len(fields) != len(test.want) {
				t.Errorf("got %v, want %v", fields, test.want)
			}
		})
	}
}

// TestFilterThatNoQueryCanSay: a filter that a query cannot express does not become one that picks all.
func TestFilterThatNoQueryCanSay(t *testing.T) {
	url, _ := serveScripted(t, &scripted{purge: func() (*adapter.Purge, error) {
		t.Error("the server was asked")
		return nil, nil
	}})
	client := newTestClient(t, url)
	if _, err := client.Purge(t.Context(), adapter.Filter{IDs: []int64{}, Outcomes: []adapter.Outcome{adapter.Dead}},
		0, false); err == nil {
		t.Error("no error for a list of ids without any")
	}
	many := make([]int64, 4000)
	for i := range many {
		many[i] = int64(i + 1)
	}
	if _, err := client.Purge(t.Context(), adapter.Filter{IDs: many}, 0, false); err == nil ||
		!strings.Contains(err.Error(), "fewer ids") {
		t.Errorf("for too many ids: %v", err)
	}
}

// TestScans: the API tells how many deliveries a filter reads, with the answer and beforehand.
func TestScans(t *testing.T) {
	for _, test := range []struct {
		scan         adapter.Scan
		header, body string
	}{
		{adapter.Scan{}, "", `{"deliveries":0}`},
		{adapter.Scan{Deliveries: 70_000, Indexing: true}, "70000", `{"deliveries":70000,"indexing":true}`},
	} {
		url, _ := serveScripted(t, &scripted{scan: test.scan, purge: func() (*adapter.Purge, error) {
			return &adapter.Purge{}, nil
		}})
		for path, method := range map[string]string{"/purge?reason=refused": http.MethodPost,
			"/scans?reason=refused": http.MethodGet} {
			response, body := ask(t, method, url+"/admin/v1"+path, "Bearer "+token, nil)
			switch got := response.Header.Get("Deliveries-Scanned"); {
			case method == http.MethodPost && got != test.header:
				t.Errorf("%s: the header is %q, want %q", path, got, test.header)
			case method == http.MethodGet && strings.TrimSpace(body) != test.body:
				t.Errorf("%s: the answer is %s, want %s", path, body, test.body)
			}
		}
		client := newTestClient(t, url)
		if got, err := client.Scans(context.Background(), adapter.Filter{Reason: mapping.ReasonRefused}); err != nil ||
			got != test.scan {
			t.Errorf("the client says %+v, %v, want %+v", got, err, test.scan)
		}
	}
}
