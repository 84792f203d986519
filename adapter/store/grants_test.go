package store_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// grantStatements returns the blocks of SQL in docs/postgresql.md that make the roles: those
// for the server, and those for the database.
func grantStatements(t *testing.T) (server, database string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "postgresql.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(page), 2)
	if len(blocks) != 2 {
		t.Fatalf("docs/postgresql.md has %d blocks of SQL", len(blocks))
	}
	return blocks[0][1], blocks[1][1]
}

// TestDocumentedGrants makes a database by the statements of docs/postgresql.md. The owner
// makes the tables, and the other role does all that a server and operators do.
func TestDocumentedGrants(t *testing.T) {
	t.Parallel()
	target, err := url.Parse(postgresOptions(t).URL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	// Roles belong to the whole server, so the test has names of its own.
	name := "test_" + strings.ToLower(rand.Text())
	owned := regexp.MustCompile(`\badapter(_owner)?\b`)
	server, database := grantStatements(t)
	server, database = owned.ReplaceAllString(server, name+"$1"), owned.ReplaceAllString(database, name+"$1")
	superuser := raw(t, store.Options{URL: adapter.NewSecret(target.String())})
	t.Cleanup(func() {
		for _, statement := range []string{"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)",
			"DROP ROLE IF EXISTS " + name, "DROP ROLE IF EXISTS " + name + "_owner"} {
			if _, err := superuser.Exec(statement); err != nil {
				t.Error(err)
			}
		}
	})
	// One by one, since CREATE DATABASE does not run within a transaction.
	for statement := range strings.SplitSeq(strings.TrimSpace(server), ";\n") {
		execute(t, superuser, statement)
	}
	target.Path = "/" + name
	inDatabase := raw(t, store.Options{URL: adapter.NewSecret(target.String())})
	execute(t, inDatabase, database)

	options := func(user, password string) store.Options {
		as := *target
		as.User = url.UserPassword(user, password)
		return store.Options{URL: adapter.NewSecret(as.String())}
	}
	if s, err := store.Open(context.Background(), options(name, "another-password")); err == nil {
		t.Error("the serving role has made the tables", s.Close())
	}
	if err := open(t, options(name+"_owner", "a-password")).Close(); err != nil {
		t.Fatal(err)
	}
	serve(t, options(name, "another-password"))
	asServing, err := sql.Open("pgx", options(name, "another-password").URL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	defer asServing.Close()
	for _, statement := range []string{"CREATE TABLE mine (id int)", "DROP TABLE queue",
		"ALTER TABLE queue ADD mine int", "TRUNCATE queue"} {
		if _, err := asServing.Exec(statement); err == nil {
			t.Errorf("the serving role can %s", statement)
		}
	}
}

// serve does what a server and operators do with a store.
func serve(t *testing.T, opts store.Options) {
	t.Helper()
	ctx := context.Background()
	opts.Retention = store.Retention{Ledger: time.Hour, Dead: time.Hour}
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	rejected := event("message-rejected")
	rejected.Outcome, rejected.Reason = adapter.Rejected, "missing_type"
	accept(t, q, append(arrivals(0, 5), rejected)...)
	leased := lease(t, q, 5)
	now := leased[0].ReceivedAt
	due := now.Add(time.Hour).Truncate(time.Millisecond)
	if err := q.MarkSending(ctx, &leased[0]); err != nil {
		t.Error(err)
	}
	failed := adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Status: 400, Counted: true,
		Began: now, At: now}
	record(t, q, leased[:1], failed)
	record(t, q, leased[1:2], adapter.Step{Outcome: adapter.Delivered, At: now})
	record(t, q, leased[2:3], adapter.Step{Outcome: adapter.Pending, At: now, Due: due})
	if got, err := q.LeaseParked(ctx, []adapter.Parked{{ID: leased[2].ID, Due: due}}, 1<<20); len(got) != 1 ||
		err != nil {
		t.Error(got, err)
	}
	if err := q.Release(ctx, []*adapter.Leased{&leased[3]}); err != nil {
		t.Error(err)
	}
	redrive(t, s, leased[0].ID)
	if n, err := s.Purge(ctx, []int64{leased[1].ID}); n != 1 || err != nil {
		t.Error(n, err)
	}
	run, err := s.BeginRun(ctx, "default", "tenant", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AcceptBatch(ctx, run, &adapter.Batch{Arrivals: arrivals(10, 2)}); err != nil {
		t.Error(err)
	}
	if err := s.Retain(ctx); err != nil {
		t.Error(err)
	}
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
	balanced(t, s)
}
