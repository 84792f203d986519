package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

const token, otherToken = "a-token-of-sixteen-or-more", "another-token-of-sixteen"

// served is a handler on a real store, with its log.
type served struct {
	*testing.T
	url        string
	operations *delivery.Operations
	queue      *store.Queue
	former     *store.Queue // of a tenant that the connection had
	metrics    *Metrics
	log        *observer.ObservedLogs
}

func serve(t *testing.T, tokens ...string) *served {
	t.Helper()
	ctx := context.Background()
	opened, err := store.Open(ctx, store.Options{Path: filepath.Join(t.TempDir(), "adapter.db"),
		Tenants: map[string]string{"default": "tenant"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	queue, err := opened.Connection(ctx, "default", "tenant")
	if err != nil {
		t.Fatal(err)
	}
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	core, log := observer.New(zapcore.DebugLevel)
	former, err := opened.Connection(ctx, "default", "host/test_former")
	if err != nil {
		t.Fatal(err)
	}
	operations := delivery.NewOperations(opened,
		map[string]*mapping.Mapper{"default": mapper}, map[string]string{"default": "tenant"})
	s := &served{T: t, former: former, operations: operations, queue: queue, metrics: NewMetrics(), log: log}
	s.metrics.WatchStore(opened, opened.Ready, func() time.Time { return time.Now().Add(time.Minute) })
	s.metrics.WatchBreakers(map[string]func() delivery.BreakerState{"default": func() delivery.BreakerState {
		return delivery.BreakerState{Paused: true, Reason: mapping.ReasonUnauthorized, Limit: 4, InFlight: 1}
	}})
	var secrets []adapter.Secret
	for _, text := range tokens {
		secrets = append(secrets, adapter.NewSecret(text))
	}
	server := httptest.NewServer(New(Options{Operations: s.operations, Tokens: secrets, Metrics: s.metrics,
		Log: zap.New(core)}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// fill stores four events: a dead one that can be sent by now, a dead one that still cannot, a pending and a delivered
// one.
func (s *served) fill() {
	s.Helper()
	ctx := context.Background()
	arrival := func(id, payload string) adapter.Arrival {
		return adapter.Arrival{MessageID: id, Keyed: true, UserID: "u", AccountID: "u", Event: "X Ordered",
			EventKey: "x", Payload: []byte(payload), Outcome: adapter.Pending}
	}
	list := []adapter.Arrival{
		arrival("message-dead", `{"type":"track","userId":"u","event":"x","messageId":"message-dead"}`),
		arrival("message-refused", `not json`),
		arrival("message-delivered", `{"type":"track","userId":"u","event":"x","messageId":"message-delivered"}`),
	}
	if err := s.queue.Accept(ctx, list); err != nil {
		s.Fatal(err)
	}
	leased, err := s.queue.Lease(ctx, 10, 1<<20)
	if err != nil || len(leased) != 3 {
		s.Fatal(leased, err)
	}
	at := leased[0].ReceivedAt.Add(time.Second)
	for i, outcome := range []adapter.Outcome{adapter.Dead, adapter.Dead, adapter.Delivered} {
		step := adapter.Step{Outcome: outcome, Status: 400, Counted: true, Began: at, At: at}
		if outcome == adapter.Dead {
			step.Reason, step.Detail = mapping.ReasonRefused, "no"
		}
		if err := s.queue.Record(ctx, &leased[i], step); err != nil {
			s.Fatal(err)
		}
	}
	if err := s.queue.Accept(ctx, []adapter.Arrival{arrival("message-pending",
		`{"type":"track","userId":"u","event":"x","messageId":"message-pending"}`)}); err != nil {
		s.Fatal(err)
	}
}

// request returns the status and the body of an answer.
func (s *served) request(method, path, authorization string) (int, string) {
	s.Helper()
	response, text := ask(s.T, method, s.url+path, authorization, nil)
	return response.StatusCode, text
}

func TestAuthorization(t *testing.T) {
	s := serve(t, token, otherToken)
	for header, want := range map[string]int{
		"": 401, "Bearer": 401, "Bearer wrong": 401, "Basic " + token: 401, "Bearer " + token + "x": 401, token: 401,
		"Bearer " + token: 200, "bearer " + otherToken: 200,
	} {
		for _, path := range []string{"/admin/v1/deliveries", "/admin/v1/stats", "/admin/v1/verify",
			"/admin/v1/export"} {
			if got, body := s.request(http.MethodGet, path, header); got != want {
				t.Errorf("%q %s: %d %s, want %d", header, path, got, body, want)
			}
		}
	}
	for _, path := range []string{"/admin/v1/redrive", "/admin/v1/purge?outcome=dead"} {
		if got, _ := s.request(http.MethodPost, path, ""); got != 401 {
			t.Errorf("%s without a token: %d", path, got)
		}
		if got, _ := s.request(http.MethodGet, path, "Bearer "+token); got != 405 {
			t.Errorf("GET %s: %d", path, got)
		}
	}
	if got, _ := s.request(http.MethodGet, "/metrics", ""); got != 200 {
		t.Errorf("metrics without a token: %d", got)
	}
	closed := serve(t)
	if got, body := closed.request(http.MethodGet, "/admin/v1/stats", "Bearer "); got != 403 ||
		!strings.Contains(body, "ADMIN_TOKEN") {
		t.Errorf("without any token: %d %s", got, body)
	}
	for _, entry := range s.log.All() {
		if strings.Contains(entry.Message, token) || strings.Contains(strings.ToLower(entry.Message), "panic") {
			t.Errorf("logged %v", entry)
		}
	}
}

func TestBadQueries(t *testing.T) {
	s := serve(t, token)
	for path, want := range map[string]string{
		"/admin/v1/deliveries?user_id=u":      "parameter user_id is unknown: known are before, connection",
		"/admin/v1/deliveries?outcome=lost":   `outcome is \"lost\"`,
		"/admin/v1/deliveries?user=":          "parameter user is empty",
		"/admin/v1/deliveries?since=today":    "2006-01-02T15:04:05Z",
		"/admin/v1/deliveries?limit=-1":       "whole number",
		"/admin/v1/deliveries?limit=10001":    "up to 10000",
		"/admin/v1/deliveries?id=x":           "number of a delivery",
		"/admin/v1/deliveries/999":            "no delivery with this id",
		"/admin/v1/deliveries/x":              "no delivery with this id",
		"/admin/v1/stats?dry_run=true":        "parameter dry_run is unknown: known are before",
		"/admin/v1/verify?user=u":             "parameter user is unknown: none is taken here",
		"/admin/v1/deliveries/1?outcome=dead": "parameter outcome is unknown: none is taken here",
		"/admin/v1/deliveries?%0a=u":          `parameter \"\\n\" is unknown`,
		"/admin/v1/deliveries?user=a&user=b":  "parameter user is there twice",
		"/admin/v1/deliveries?user=%zz":       "malformed",
		"/admin/v1/export?user=a;reason=b":    "malformed",
		"/admin/v1/nothing":                   "nothing is at this path",
		"/admin/v1/deliveries?outcome=dead,,": `outcome is`,
	} {
		if got, body := s.request(http.MethodGet, path, "Bearer "+token); got < 400 || got > 499 ||
			!strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, got, body)
		}
	}
	for path, want := range map[string]string{
		"/admin/v1/purge":                     "needs a filter",
		"/admin/v1/redrive?outcome=delivered": "would count them twice",
		"/admin/v1/redrive?outcome=skipped":   "not kept",
	} {
		if got, body := s.request(http.MethodPost, path, "Bearer "+token); got != 422 ||
			!strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, got, body)
		}
	}
}

// TestClient compares the answers of the server with those of the store itself.
func TestClient(t *testing.T) {
	s := serve(t, token)
	s.fill()
	client := newTestClient(t, s.url)
	ctx := context.Background()
	export := func(o adapter.Operations) (ids []string, err error) {
		err = o.Export(ctx, adapter.Filter{}, 0, func(d *adapter.Delivery) error {
			ids = append(ids, d.MessageID+" "+string(d.Payload)+d.PayloadText)
			return nil
		})
		return ids, err
	}
	for name, call := range map[string]func(adapter.Operations) (any, error){
		"list": func(o adapter.Operations) (any, error) {
			return o.List(ctx, adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead, adapter.Pending},
				Since: time.Now().Add(-time.Hour), UserID: "u"}, 2)
		},
		"list by name": func(o adapter.Operations) (any, error) {
			found, err := o.List(ctx, adapter.Filter{Event: "X Ordered", EventKey: "x"}, 10)
			if len(found) != 4 || found[0].Event != "X Ordered" {
				err = errors.Join(err, fmt.Errorf("found %+v", found))
			}
			return found, err
		},
		"list by a key as a name": func(o adapter.Operations) (any, error) {
			found, err := o.List(ctx, adapter.Filter{Event: "x"}, 10)
			return len(found), err
		},
		"list one": func(o adapter.Operations) (any, error) {
			return o.List(ctx, adapter.Filter{IDs: []int64{1, 99}}, 10)
		},
		"show":      func(o adapter.Operations) (any, error) { return o.Show(ctx, 1) },
		"show text": func(o adapter.Operations) (any, error) { return o.Show(ctx, 2) },
		"show none": func(o adapter.Operations) (any, error) { return o.Show(ctx, 99) },
		"stats":     func(o adapter.Operations) (any, error) { return o.Stats(ctx, adapter.Filter{}) },
		"verify":    func(o adapter.Operations) (any, error) { return o.Verify(ctx) },
		"dry redrive": func(o adapter.Operations) (any, error) {
			return o.Redrive(ctx, adapter.Filter{}, 0, "", true)
		},
		"dry purge": func(o adapter.Operations) (any, error) {
			return o.Purge(ctx, adapter.Filter{Reason: mapping.ReasonRefused}, 1, true)
		},
		"refused to no tenant": func(o adapter.Operations) (any, error) {
			return o.Redrive(ctx, adapter.Filter{}, 0, "nowhere", true)
		},
		"refused": func(o adapter.Operations) (any, error) {
			return o.Purge(ctx, adapter.Filter{}, 0, false)
		},
		"export": func(o adapter.Operations) (any, error) { return export(o) },
	} {
		got, gotErr := call(client)
		want, wantErr := call(s.operations)
		asJSON := func(v any) string {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		if asJSON(got) != asJSON(want) && wantErr == nil {
			t.Errorf("%s: got %s\nwant %s", name, asJSON(got), asJSON(want))
		}
		if (gotErr == nil) != (wantErr == nil) || wantErr != nil &&
			reflect.TypeOf(gotErr) != reflect.TypeOf(wantErr) && !errors.Is(gotErr, adapter.ErrNoDelivery) {
			t.Errorf("%s: error %v, want %v", name, gotErr, wantErr)
		}
	}
	redriven, err := client.Redrive(ctx, adapter.Filter{}, 0, "", false)
	if err != nil || redriven.Matched != 2 || redriven.Sent != 1 || redriven.Unsendable["invalid_json"] != 1 {
		t.Errorf("got %+v, %v", redriven, err)
	}
	purged, err := client.Purge(ctx, adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead}}, 0, false)
	if err != nil || purged.Purged[adapter.Dead] != 1 {
		t.Errorf("got %+v, %v", purged, err)
	}
	actions := s.log.FilterMessage("admin action")
	for _, want := range []struct {
		action string
		field  string
		value  int64
	}{{"redrive", "sent", 1}, {"purge", "purged", 1}, {"export", "deliveries", 4}} {
		found := false
		for _, entry := range actions.All() {
			fields := entry.ContextMap()
			found = found || fields["action"] == want.action && fields[want.field] == want.value &&
				fields["token"] == int64(0) && fields["remote"] != ""
		}
		if !found {
			t.Errorf("no line for %+v", want)
		}
	}
}

// TestRedriveToTenant moves an event to the connection's present tenant through the admin API, and finds that in the
// log.
func TestRedriveToTenant(t *testing.T) {
	s := serve(t, token)
	ctx := context.Background()
	payload := `{"type":"track","userId":"u","event":"x","messageId":"message-former"}`
	arrival := adapter.Arrival{MessageID: "message-former", Keyed: true, UserID: "u", AccountID: "u", EventKey: "x",
		Payload: []byte(payload), Outcome: adapter.Pending}
	if err := s.former.Accept(ctx, []adapter.Arrival{arrival}); err != nil {
		t.Fatal(err)
	}
	const held = `segment_saasquatch_held_events{connection="default",reason="tenant_changed",` +
		`tenant="host/test_former"} 1`
	if _, metrics := s.request(http.MethodGet, "/metrics", ""); !strings.Contains(metrics, held) {
		t.Errorf("no %s in the metrics", held)
	}
	client := newTestClient(t, s.url)
	found, err := client.List(ctx, adapter.Filter{Tenant: "test_former"}, 10)
	if err != nil || len(found) != 1 || found[0].Tenant != "host/test_former" ||
		found[0].Reason != mapping.ReasonTenantChanged {
		t.Errorf("got %+v, %v", found, err)
	}
	var refused *adapter.RefusedError
	if _, err := client.Redrive(ctx, adapter.Filter{}, 0, "test_former", false); !errors.As(err, &refused) ||
		!strings.Contains(err.Error(), "default has tenant") {
		t.Errorf("to the former tenant: %v", err)
	}
	moves := adapter.TenantMoves{{Connection: "default", From: "host/test_former", To: "tenant", Events: 1}}
	for _, dry := range []bool{true, false} {
		done, err := client.Redrive(ctx, adapter.Filter{}, 0, "tenant", dry)
		if err != nil || done.Matched != 1 || done.Sent != 1 || !reflect.DeepEqual(done.Moved, moves) {
			t.Errorf("dry %v: got %+v, %v", dry, done, err)
		}
	}
	if leased, err := s.queue.Lease(ctx, 10, 1<<20); err != nil || len(leased) != 1 {
		t.Errorf("leased %+v, %v", leased, err)
	}
	lines := s.log.FilterMessage("admin action").FilterField(zap.Strings("filter", []string{"to_tenant"})).
		FilterField(zap.Bool("dry_run", false)).FilterFieldKey("moved")
	if lines.Len() != 1 || lines.All()[0].ContextMap()["dry_run"] != false {
		t.Errorf("logged %+v", s.log.All())
	}
	status, body := s.request(http.MethodPost, "/admin/v1/purge?outcome=dead&to_tenant=tenant", "Bearer "+token)
	if status != http.StatusBadRequest || !strings.Contains(body, "to_tenant is unknown") {
		t.Errorf("%d %s", status, body)
	}
}

func TestNewClient(t *testing.T) {
	for base, want := range map[string]string{
		"127.0.0.1:9090": "not a URL", "http://example.com": "plain http", "ftp://127.0.0.1": "not a URL",
		"": "not a URL",
	} {
		if _, err := NewClient(base, adapter.NewSecret(token)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", base, err)
		}
	}
	if _, err := NewClient("http://127.0.0.1:9090", adapter.Secret{}); err == nil ||
		!strings.Contains(err.Error(), "ADMIN_TOKEN") {
		t.Errorf("without a token: %v", err)
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	client := newTestClient(t, other.URL)
	if _, err := client.Verify(context.Background()); err == nil || !strings.Contains(err.Error(), "admin address") {
		t.Errorf("from another server: %v", err)
	}
}

// TestExportThatBreaksOff: an export that breaks off never passes for a whole one.
func TestExportThatBreaksOff(t *testing.T) {
	for _, body := range []string{"", "{\"id\":1}\n", "{\"id\":1}\n{\"exported\":", "{\"id\":1}\n{\"exported\":2}\n",
		"{\"id\":1}\n<html>\n"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, body)
		}))
		client := newTestClient(t, server.URL)
		if err := client.Export(context.Background(), adapter.Filter{}, 0,
			func(*adapter.Delivery) error { return nil }); err == nil {
			t.Errorf("%q passes for an export", body)
		}
		server.Close()
	}
}

func TestMetrics(t *testing.T) {
	s := serve(t)
	s.fill()
	event := s.metrics.Event("default")
	event(adapter.Result{Outcome: adapter.Delivered, Lag: 2 * time.Second})
	event(adapter.Result{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Lag: time.Second})
	s.metrics.Attempt("default")(adapter.Attempt{Status: 503}, 30*time.Millisecond)
	got, text := s.request(http.MethodGet, "/metrics", "")
	if got != 200 {
		t.Fatalf("%d %s", got, text)
	}
	for _, want := range []string{
		`segment_saasquatch_events_total{connection="default",outcome="delivered",reason=""} 1`,
		`segment_saasquatch_events_total{connection="default",outcome="dead",reason="refused"} 1`,
		`segment_saasquatch_upstream_requests_total{connection="default",status="503"} 1`,
		`segment_saasquatch_upstream_request_duration_seconds_bucket{connection="default",le="0.05"} 1`,
		`segment_saasquatch_end_to_end_lag_seconds_count{connection="default"} 1`,
		`segment_saasquatch_backlog_events{connection="default"} 1`,
		`segment_saasquatch_backlog_oldest_age_seconds{connection="default"} 6`,
		`segment_saasquatch_deliveries_accepted_total{connection="default"} 4`,
		`segment_saasquatch_deliveries{connection="default",outcome="dead"} 2`,
		`segment_saasquatch_conservation_difference{connection="default"} 0`,
		`segment_saasquatch_tenant_paused{connection="default",reason="unauthorized"} 1`,
		`segment_saasquatch_concurrency_limit{connection="default"} 4`,
		`segment_saasquatch_store_up 1`,
		`go_goroutines`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	problems, err := testutil.GatherAndLint(s.metrics.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		if strings.HasPrefix(problem.Metric, namespace) {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
	}
}

// failingLog is a store that does not answer.
type failingLog struct{}

func (failingLog) Totals(context.Context) ([]adapter.Totals, error) {
	return nil, errors.New("no store")
}
func (failingLog) Backlog(context.Context) ([]adapter.Backlog, error) {
	return nil, errors.New("no store")
}

func TestMetricsOfAStoreThatFails(t *testing.T) {
	works, full := func() error { return nil }, func() error { return errors.New("the disk is full") }
	for _, test := range []struct {
		log   Log
		ready func() error
		up    string
	}{
		{&fixedLog{}, works, "1"},
		{&fixedLog{}, full, "0"}, // which can be read
		{failingLog{}, works, "0"},
		{failingLog{}, full, "0"},
	} {
		m := NewMetrics()
		m.WatchStore(test.log, test.ready, time.Now)
		const name = "segment_saasquatch_store_up"
		want := "# HELP " + name + " 1 if the store works, as /readyz says, and answered, else 0.\n" +
			"# TYPE " + name + " gauge\n" + name + " " + test.up + "\n"
		err := testutil.GatherAndCompare(m.registry, strings.NewReader(want), name,
			"segment_saasquatch_backlog_events")
		if err != nil {
			t.Errorf("%T, %v: %v", test.log, test.ready(), err)
		}
	}
}

// FuzzParseQuery checks that encode writes what parseQuery has read.
func FuzzParseQuery(f *testing.F) {
	f.Add("id=1&id=2&outcome=dead,pending&since=2026-01-02T03:04:05.678Z&limit=5&dry_run=true&before=9&user=u&" +
		"message_id=m&event=e&event_key=k&reason=r&connection=c&until=2026-01-02T03:04:05Z&tenant=t&to_tenant=x")
	f.Add("id=0&outcome=&x=y")
	f.Add("since=2026-01-02T03:04:05%2B01:00")
	f.Fuzz(func(t *testing.T, text string) {
		q, err := parseQuery(text, ofMove)
		if err != nil {
			return
		}
		values, err := url.ParseQuery(text)
		if err != nil {
			t.Fatalf("%q is malformed, and was read: %v", text, err)
		}
		for name := range values {
			if name != "limit" && name != "dry_run" && !q.encode().Has(name) {
				t.Errorf("%q: %s was overlooked", text, name)
			}
		}
		again, err := parseQuery(q.encode().Encode(), ofMove)
		if err != nil {
			t.Fatalf("%q became %q: %v", text, q.encode().Encode(), err)
		}
		if got, want := again.encode().Encode(), q.encode().Encode(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
