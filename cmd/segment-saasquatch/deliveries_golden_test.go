package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/admin"
	"segment-saasquatch/mapping"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fixedOperations always answers with the same deliveries.
type fixedOperations struct {
	deliveries []adapter.Delivery // newest first
	stats      adapter.Stats
	verified   []adapter.Conservation
	changed    []string // what was really redriven and purged
}

var day = time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)

func at(d time.Duration) *time.Time {
	t := day.Add(d)
	return &t
}

func newFixedOperations() *fixedOperations {
	return &fixedOperations{
		deliveries: []adapter.Delivery{
			{
				ID: 1003, Connection: "default", Tenant: "https://host/ops", MessageID: "ajs-next-1700000000003",
				UserID: "u-3", AccountID: "a-3", Event: "Order Completed", EventKey: "order_completed",
				Outcome: adapter.Pending, Reason: mapping.ReasonServerError, Detail: "upstream is tired", Status: 503,
				Call: adapter.CallTrack, Attempts: 2, Ambiguous: true,
				ReceivedAt: day, FirstAttemptAt: at(time.Second), LastAttemptAt: at(9 * time.Second),
				DueAt: at(time.Minute),
				History: []adapter.Try{
					{Number: 1, At: *at(time.Second), Duration: 1234567 * time.Nanosecond, Call: adapter.CallTrackBulk,
						Reason: mapping.ReasonTimeout, Detail: "no answer\nwithin 10 s"},
					{Number: 2, At: *at(9 * time.Second), Duration: 20 * time.Millisecond, Call: adapter.CallTrack,
						Status: 503, Reason: mapping.ReasonServerError, Detail: "upstream is tired"},
				},
				Payload: json.RawMessage(`{"type":"track","userId":"u-3","event":"Order Completed"}`),
			},
			{
				ID: 1002, Connection: "default", MessageID: "evil\x1b]0;owned\x07\u202emessage",
				UserID:    "evil\x1b[31muser\tx\n" + strings.Repeat("z", 100),
				AccountID: "日本", Event: "\x1b[2JOrder\nCompleted", EventKey: "order_completed", Outcome: adapter.Dead,
				Reason: mapping.ReasonRefused, Detail: "no\x9b1m\r\nfield \x7f", Status: 422,
				Attempts: 1, ReceivedAt: day.Add(-time.Hour), FirstAttemptAt: at(-time.Hour),
				LastAttemptAt: at(-time.Hour), SettledAt: at(-time.Hour + 1500*time.Millisecond),
				PayloadText: "no JSON \x1b[2J at all\nand more",
			},
			{
				ID: 7, Connection: "eu", Tenant: "https://host/test_ops", Outcome: adapter.Rejected,
				Reason: "missing_user_id", Detail: "userId is missing", Event: "Signed Up", Run: 3, Repeats: 2,
				ReceivedAt: day.Add(-30 * 24 * time.Hour), SettledAt: at(-30 * 24 * time.Hour), PayloadDropped: true,
			},
		},
		stats: adapter.Stats{
			Deliveries: []adapter.Summary{
				{Connection: "default", Tenant: "https://host/ops", Outcome: adapter.Delivered, Events: 1_000_000},
				{Connection: "default", Tenant: "https://host/ops", Outcome: adapter.Dead,
					Reason: mapping.ReasonRefused, Events: 1},
				{Connection: "default", Tenant: "https://host/ops", Outcome: adapter.Pending,
					Reason: mapping.ReasonServerError, Events: 1},
				{Connection: "eu", Tenant: "https://host/test_ops", Outcome: adapter.Rejected,
					Reason: "missing_user_id", Events: 1},
				{Connection: "eu", Tenant: "https://host/test_ops", Outcome: adapter.Pending,
					Reason: mapping.ReasonTenantChanged, Events: 3},
				{Connection: "us", Tenant: "https://host/us", Outcome: adapter.Pending,
					Reason: mapping.ReasonConnectionRemoved, Events: 2},
			},
			Totals: []adapter.Totals{
				{Connection: "default", Accepted: 1_000_002,
					Events: map[adapter.Outcome]int64{adapter.Delivered: 1_000_000, adapter.Dead: 1,
						adapter.Pending: 1},
					PayloadBytes: map[adapter.Outcome]int64{adapter.Rejected: 0, adapter.Dead: 33}},
				{Connection: "eu", Accepted: 4, Events: map[adapter.Outcome]int64{adapter.Rejected: 1,
					adapter.Pending: 3}},
				{Connection: "us", Accepted: 2, Events: map[adapter.Outcome]int64{adapter.Pending: 2}},
			},
			Backlog: []adapter.Backlog{
				{Connection: "default", Events: 1, Bytes: 57, Oldest: day},
				{Connection: "eu", Events: 3, Bytes: 171, Held: []adapter.Held{{Tenant: "https://host/test_ops",
					Reason: mapping.ReasonTenantChanged, Events: 3}}},
				{Connection: "us", Events: 2, Bytes: 114, Held: []adapter.Held{{Tenant: "https://host/us",
					Reason: mapping.ReasonConnectionRemoved, Events: 2}}},
			},
		},
		verified: []adapter.Conservation{
			{
				Totals: adapter.Totals{Connection: "default", Accepted: 3,
					Events: map[adapter.Outcome]int64{adapter.Delivered: 2, adapter.Pending: 1}},
				Rows:    map[adapter.Outcome]int64{adapter.Delivered: 2, adapter.Pending: 1},
				Removed: map[adapter.Outcome]int64{}, Faults: []string{},
			},
		},
	}
}

// find supports the filters by outcome, id and Before.
func (o *fixedOperations) find(filter adapter.Filter, limit int) (found []adapter.Delivery) {
	for _, d := range o.deliveries {
		picked := (len(filter.Outcomes) == 0 || slices.Contains(filter.Outcomes, d.Outcome)) &&
			(filter.IDs == nil || slices.Contains(filter.IDs, d.ID))
		if picked && (filter.Before == 0 || d.ID < filter.Before) && (limit == 0 || len(found) < limit) {
			found = append(found, d)
		}
	}
	return found
}

func (o *fixedOperations) List(_ context.Context, filter adapter.Filter, limit int) ([]adapter.Delivery, error) {
	found := o.find(filter, limit)
	for i := range found {
		found[i].History, found[i].Payload, found[i].PayloadText = nil, nil, ""
	}
	return found, nil
}

// Scans reports that filters by reason read many deliveries, and that filters by skipped events use an incomplete
// index.
func (o *fixedOperations) Scans(_ context.Context, filter adapter.Filter) (scan adapter.Scan, err error) {
	switch {
	case filter.Reason != "":
		scan.Deliveries = 5_000_000
	case slices.Equal(filter.Outcomes, []adapter.Outcome{adapter.Skipped}) && filter.Event == "":
		scan = adapter.Scan{Deliveries: 5_000_000, Indexing: true}
	}
	return scan, nil
}

func (o *fixedOperations) Show(_ context.Context, id int64) (*adapter.Delivery, error) {
	found := o.find(adapter.Filter{IDs: []int64{id}}, 1)
	if len(found) == 0 {
		return nil, adapter.ErrNoDelivery
	}
	return &found[0], nil
}

func (o *fixedOperations) Stats(context.Context, adapter.Filter) (*adapter.Stats, error) {
	return &o.stats, nil
}

func (o *fixedOperations) Verify(context.Context) ([]adapter.Conservation, error) {
	return o.verified, nil
}

func (o *fixedOperations) Redrive(
	_ context.Context, filter adapter.Filter, _ int, toTenant string, dry bool,
) (*adapter.Redrive, error) {
	done := &adapter.Redrive{
		Matched: 11, Sent: 4, Unsendable: map[mapping.Reason]int{"missing_user_id": 1, "invalid_json": 2},
		NoPayload: 2, Damaged: 1, NoConnection: 1, Held: 1, FiresPrograms: 2,
	}
	switch {
	case toTenant != "":
		done = &adapter.Redrive{
			Matched: 10, Sent: 9, Held: 1,
			OtherTenant: adapter.TenantMoves{{Connection: "us", From: "https://host/test_us",
				To: "https://host/us", Events: 2}},
			Moved: adapter.TenantMoves{
				{Connection: "default", From: "https://host/test_ops", To: "https://host/" + toTenant, Events: 6},
				{Connection: "default", From: "https://host/former", To: "https://host/" + toTenant, Events: 3},
			},
		}
	case filter.Tenant != "":
		done = &adapter.Redrive{
			Matched: 3, OtherTenant: adapter.TenantMoves{{Connection: "eu", From: "https://host/" + filter.Tenant,
				To: "https://host/eu", Events: 3}},
		}
	}
	if !dry && toTenant == "" && filter.Tenant == "" {
		done.Sent, done.Duplicate = 3, 1
	}
	if !dry && toTenant != "" {
		done.Sent, done.InHand = 8, 1
	}
	if !dry {
		o.changed = append(o.changed, "redrive")
	}
	return done, nil
}

func (o *fixedOperations) Purge(
	_ context.Context, filter adapter.Filter, limit int, dry bool,
) (*adapter.Purge, error) {
	done := &adapter.Purge{Purged: make(map[adapter.Outcome]int)}
	for _, d := range o.find(filter, limit) {
		done.Purged[d.Outcome]++
	}
	if !dry {
		o.changed = append(o.changed, "purge")
	}
	return done, nil
}

func (o *fixedOperations) Export(
	_ context.Context, filter adapter.Filter, limit int, yield func(*adapter.Delivery) error,
) error {
	for _, d := range o.find(filter, limit) {
		if err := yield(&d); err != nil {
			return err
		}
	}
	return nil
}

// throughServer serves the operations. It returns the environment and the flag with which commands find the server.
func throughServer(t *testing.T, o adapter.Operations) (env map[string]string, server string) {
	t.Helper()
	const token = "a-token-of-sixteen-or-more"
	s := httptest.NewServer(admin.New(admin.Options{
		Operations: o, Tokens: []adapter.Secret{adapter.NewSecret(token)}, Metrics: admin.NewMetrics(),
	}))
	t.Cleanup(s.Close)
	return map[string]string{"ADMIN_TOKEN": token}, "--server=" + s.URL
}

// TestDeliveriesGolden runs commands on fixed deliveries, through a server, and compares their output with
// testdata/deliveries/*/want.txt.
func TestDeliveriesGolden(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"list":              {"list"},
		"list_first":        {"list", "--limit", "1"},
		"list_scan":         {"list", "--reason", "refused"},
		"list_scan_since":   {"list", "--reason", "refused", "--since", "2026-01-01"},
		"purge_scan":        {"purge", "--reason", "refused", "--dry-run"},
		"list_json":         {"list", "--json", "--outcome", "rejected"},
		"list_none":         {"list", "--outcome", "skipped"},
		"list_unnamed":      {"list", "--outcome", "skipped", "--event", "Order Completed"},
		"show_pending":      {"show", "1003"},
		"show_hostile":      {"show", "1002"},
		"show_rejected":     {"show", "7"},
		"show_json":         {"show", "1003", "--json"},
		"show_unknown":      {"show", "8"},
		"stats":             {"stats"},
		"stats_filtered":    {"stats", "--outcome", "delivered,dead,pending,rejected"},
		"stats_json":        {"stats", "--json"},
		"verify":            {"stats", "--verify"},
		"verify_broken":     {"stats", "--verify"},
		"verify_json":       {"stats", "--verify", "--json"},
		"verify_filter":     {"stats", "--verify", "--outcome", "dead", "--user", "u"},
		"redrive_dry":       {"redrive", "--dry-run"},
		"redrive_yes":       {"redrive", "--yes"},
		"redrive_json":      {"redrive", "--yes", "--json"},
		"redrive_unasked":   {"redrive"},
		"redrive_former":    {"redrive", "--tenant", "test_ops", "--yes"},
		"redrive_to_live":   {"redrive", "--to-tenant", "ops", "--dry-run"},
		"redrive_to_test":   {"redrive", "--to-tenant", "test_ops", "--yes"},
		"redrive_to_json":   {"redrive", "--to-tenant", "ops", "--yes", "--json"},
		"purge_dry":         {"purge", "--dry-run", "--outcome", "pending,dead"},
		"purge_yes":         {"purge", "--yes", "--outcome", "dead", "--outcome", "rejected"},
		"purge_unasked":     {"purge", "--outcome", "pending"},
		"export":            {"export", "--outcome", "pending,rejected"},
		"export_limit":      {"export", "--limit", "1", "--outcome", "pending,rejected"},
		"wrong_outcome":     {"list", "--outcome", "lost"},
		"wrong_since":       {"export", "--since", "yesterday"},
		"wrong_limit":       {"purge", "--outcome", "dead", "--limit", "-1", "--yes"},
		"too_long_a_list":   {"list", "--limit", "10001"},
		"arguments_to_list": {"list", "dead"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newFixedOperations()
			if name == "verify_broken" {
				o.verified[0].Faults = []string{"delivered: 2 by the totals, 1 by the rows and 0 removed"}
			}
			env, server := throughServer(t, o)
			code, stdout, stderr := runDeliveries(t, env, append(slices.Clone(args), server)...)
			got := fmt.Sprintf("$ deliveries %s\n%s", strings.Join(args, " "), stdout)
			if stderr != "" {
				got += "\nstandard error:\n" + stderr
			}
			got += fmt.Sprintf("\nexit code %d; changed %v\n", code, o.changed)
			if strings.ContainsAny(got, "\x1b\x07\r\x7f\u009b\u202e") {
				t.Errorf("a terminal would obey %q", got)
			}
			compareGolden(t, filepath.Join("..", "..", "testdata", "deliveries", name, "want.txt"), []byte(got))
		})
	}
}

func compareGolden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s\n got %s\nwant %s", path, got, want)
	}
}

// TestExportAppearsWhole checks that an earlier export stays until the new one is complete, and that no part of an
// export stays.
func TestExportAppearsWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out := filepath.Join(dir, "dead.ndjson")
	if err := os.WriteFile(out, []byte("earlier"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := newFixedOperations()
	env, server := throughServer(t, o)
	_, brokenServer := throughServer(t, &brokenExport{o})
	code, _, stderr := runDeliveries(t, env, "export", brokenServer, "--out", out, "--force")
	if text, err := os.ReadFile(out); code != exitFailed || err != nil || string(text) != "earlier" ||
		!strings.Contains(stderr, "broke off after 1") {
		t.Errorf("exit code %d, %q, %v\n%s", code, text, err, stderr)
	}
	if code, _, stderr := runDeliveries(t, env, "export", server, "--out", out, "--force"); code != exitOK {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	if text, err := os.ReadFile(out); err != nil || bytes.Count(text, []byte("\n")) != len(o.deliveries) {
		t.Errorf("exported %q, %v", text, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left %v, %v", files, err)
	}
}

// brokenExport is an export that fails after the first delivery.
type brokenExport struct{ *fixedOperations }

func (o *brokenExport) Export(
	ctx context.Context, filter adapter.Filter, _ int, yield func(*adapter.Delivery) error,
) error {
	if err := o.fixedOperations.Export(ctx, filter, 1, yield); err != nil {
		return err
	}
	return errors.New("the disk is gone")
}
