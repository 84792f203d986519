package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/admin"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

const runsToken = "token-of-sixteen-characters"

// newRunsServer serves a store to replays.
func newRunsServer(t *testing.T, replays adapter.RunStore) (*admin.Client, string) {
	t.Helper()
	handler := admin.New(admin.Options{
		Replays: replays, Tenants: map[string]string{"default": "tenant"},
		Tokens: []adapter.Secret{adapter.NewSecret(runsToken)}, Metrics: admin.NewMetrics(),
	})
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := admin.NewClient(server.URL, adapter.NewSecret(runsToken))
	if err != nil {
		t.Fatal(err)
	}
	return client, server.URL
}

func openRunsStore(t *testing.T, limits store.Limits) *store.Store {
	t.Helper()
	opened, err := store.Open(context.Background(), store.Options{Path: filepath.Join(t.TempDir(), "adapter.db"),
		Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	return opened
}

// TestRunsThroughServer does all that a replay does through a server.
func TestRunsThroughServer(t *testing.T) {
	kept := openRunsStore(t, store.Limits{})
	client, _ := newRunsServer(t, kept)
	ctx := context.Background()
	run, err := client.BeginRun(ctx, "default", "whatever", json.RawMessage(`{"sources":["a"]}`))
	if err != nil || run.ID != 1 || run.Owner == 0 {
		t.Fatal(run, err)
	}
	batch := &adapter.Batch{
		Arrivals: []adapter.Arrival{
			{MessageID: "message-1", Keyed: true, UserID: "u", AccountID: "u", EventKey: "key",
				Payload: []byte(`{"a":1}`), Outcome: adapter.Pending},
			{MessageID: "message-1", Keyed: true, UserID: "u", AccountID: "u", EventKey: "key",
				Payload: []byte(`{"a":1}`), Outcome: adapter.Pending},
			{Payload: []byte("\xff{"), Outcome: adapter.Rejected, Reason: "invalid_json"},
			{MessageID: "m", Identity: -1 << 62, Fingerprint: 7, UserID: "u", AccountID: "u", Event: "Order Completed",
				EventKey: "key", Payload: []byte(`{"a":2}`), Outcome: adapter.Pending},
			{MessageID: "m", Identity: -1<<62 + 1, Fingerprint: 7, UserID: "u", AccountID: "u", EventKey: "key",
				Payload: []byte(`{"a":3}`), Outcome: adapter.Pending},
		},
		Tallies:  []adapter.Tally{{Outcome: adapter.Skipped, Reason: "no_user_id", Events: 3}},
		Objects:  []adapter.ObjectProgress{{Object: "a", Version: "v", Lines: 6, Done: true}},
		Progress: json.RawMessage(`{"lines":6}`),
	}
	if err := client.AcceptBatch(ctx, run, batch); err != nil {
		t.Fatal(err)
	}
	if a := batch.Arrivals; a[0].Outcome != adapter.Pending || a[1].Outcome != adapter.Duplicate ||
		a[1].Reason != mapping.ReasonAlreadyAccepted || a[2].Outcome != adapter.Rejected ||
		a[3].Outcome != adapter.Pending || a[4].Outcome != adapter.Pending {
		t.Errorf("arrivals %+v", a)
	}
	state, err := client.RunState(ctx, run)
	if err != nil || state.Pending != 3 || state.Due != 3 || len(state.Outcomes) != 4 {
		t.Errorf("state %+v, %v", state, err)
	}
	for i := range batch.Arrivals { // a duplicate has no identity of its own
		if batch.Arrivals[i].Outcome == adapter.Duplicate {
			batch.Arrivals[i].Outcome = adapter.Pending
		}
	}
	known, err := client.Known(ctx, "default", "whatever", batch.Arrivals)
	const accepted = mapping.ReasonAlreadyAccepted
	if err != nil || !slices.Equal(known, []mapping.Reason{accepted, accepted, "", accepted, accepted}) {
		t.Errorf("known %q, %v", known, err)
	}
	found, err := kept.Find(ctx, adapter.Filter{Event: "Order Completed"}, 10)
	if err != nil || len(found) != 1 || found[0].MessageID != "m" {
		t.Errorf("found %+v, %v", found, err)
	}
	profile := &adapter.Batch{Arrivals: []adapter.Arrival{{
		MessageID: "message-2", Keyed: true, UserID: "u", AccountID: "u", EventKey: adapter.UpsertEventKey,
		Payload: []byte(`{"timestamp":"2026-03-01T12:00:00Z"}`), Outcome: adapter.Pending,
	}}, Progress: json.RawMessage(`{"lines":6}`)}
	if err := client.AcceptBatch(ctx, run, profile); err != nil {
		t.Fatal(err)
	}
	newer, err := client.Identifies(ctx, "default", "whatever", []adapter.IdentifyQuery{{UserID: "v", AccountID: "v"},
		{UserID: "u", AccountID: "u", Since: math.MinInt64}})
	if err != nil || len(newer) != 1 || newer[0] != (adapter.KnownIdentify{Query: 1, MessageID: "message-2",
		At: 1772366400000, Own: true}) {
		t.Errorf("identify calls %+v, %v", newer, err)
	}
	if _, err := client.Identifies(ctx, "default", "",
		make([]adapter.IdentifyQuery, adapter.MaxIdentifyQueries+1)); err == nil {
		t.Error("too many queries were answered")
	}
	var failures []string
	missing, err := client.Failures(ctx, run.ID, func(payload []byte) error {
		failures = append(failures, string(payload))
		return nil
	})
	if err != nil || missing != 0 || !slices.Equal(failures, []string{"\xff{"}) {
		t.Errorf("failures %q, %d missing, %v", failures, missing, err)
	}
	taken, objects, err := client.TakeRun(ctx, run.ID)
	if err != nil || len(objects) != 1 || objects[0] != batch.Objects[0] || string(taken.Progress) != `{"lines":6}` {
		t.Errorf("taken %+v, %+v, %v", taken, objects, err)
	}
	if err := client.AcceptBatch(ctx, run, &adapter.Batch{}); !errors.Is(err, adapter.ErrRunTaken) {
		t.Errorf("a batch of the former owner: %v", err)
	}
	if err := client.EndRun(ctx, run); !errors.Is(err, adapter.ErrRunTaken) {
		t.Errorf("an end by the former owner: %v", err)
	}
	if err := client.EndRun(ctx, taken); err != nil {
		t.Error(err)
	}
	if shown, _, err := client.Run(ctx, run.ID); err != nil || shown.EndedAt.IsZero() {
		t.Errorf("run %+v, %v", shown, err)
	}
	if runs, err := client.Runs(ctx); err != nil || len(runs) != 1 {
		t.Errorf("runs %+v, %v", runs, err)
	}
	for _, id := range []int64{99, 0} {
		if _, _, err := client.TakeRun(ctx, id); !errors.Is(err, adapter.ErrNoRun) {
			t.Errorf("take run %d: %v", id, err)
		}
	}
	if _, err := client.BeginRun(ctx, "other", "tenant", json.RawMessage(`{}`)); err == nil ||
		!strings.Contains(err.Error(), `connection "other" is not one of this server's`) {
		t.Errorf("another connection: %v", err)
	}
}

// TestRunsUnavailable: the server tells a replay that the store takes no events at the moment.
func TestRunsUnavailable(t *testing.T) {
	client, _ := newRunsServer(t, openRunsStore(t,
		store.Limits{Shares: map[string]store.Share{"default": {Events: 1}}}))
	ctx := context.Background()
	run, err := client.BeginRun(ctx, "default", "", json.RawMessage(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	arrival := adapter.Arrival{Payload: []byte("{}"), Outcome: adapter.Pending}
	err = client.AcceptBatch(ctx, run, &adapter.Batch{Arrivals: []adapter.Arrival{arrival, arrival}})
	var unavailable *adapter.UnavailableError
	if !errors.As(err, &unavailable) || !strings.Contains(unavailable.Unavailable(),
		"backlog of the connection is full") {
		t.Errorf("got %v", err)
	}
}

// TestWrongRunRequests answers requests that no replay sends.
func TestWrongRunRequests(t *testing.T) {
	kept := openRunsStore(t, store.Limits{})
	client, url := newRunsServer(t, kept)
	if _, err := client.BeginRun(context.Background(), "default", "", json.RawMessage(`{}`)); err != nil {
		t.Fatal(err)
	}
	_, direct := newRunsServer(t, nil)
	for _, test := range []struct {
		name, base, method, path, token, body string
		want                                  int
	}{
		{"no token", url, http.MethodGet, "/runs", "", "", http.StatusUnauthorized},
		{"direct", direct, http.MethodGet, "/runs", runsToken, "", http.StatusConflict},
		{"no JSON", url, http.MethodPost, "/runs/1/batch", runsToken, "{", http.StatusBadRequest},
		{"no batch", url, http.MethodPost, "/runs/1/batch", runsToken, `{"owner":"1"}`, http.StatusBadRequest},
		{"held", url, http.MethodPost, "/runs/1/batch", runsToken, `{"owner":"1","batch":{"Held":true}}`,
			http.StatusBadRequest},
		{"no number", url, http.MethodGet, "/runs/x", runsToken, "", http.StatusNotFound},
		{"no run", url, http.MethodGet, "/runs/7/state", runsToken, "", http.StatusNotFound},
		{"wrong owner", url, http.MethodPost, "/runs/1/end", runsToken, `{"owner":"1"}`, http.StatusConflict},
	} {
		t.Run(test.name, func(t *testing.T) {
			request, err := http.NewRequest(test.method, test.base+"/admin/v1"+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if test.token != "" {
				request.Header.Set("Authorization", "Bearer "+test.token)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != test.want {
				t.Errorf("got %s, want %d", response.Status, test.want)
			}
		})
	}
}
