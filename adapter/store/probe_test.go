package store_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// TestMissingGrant takes a grant away. The store without traffic finds out, and names the
// remedy, and works again with the grant.
func TestMissingGrant(t *testing.T) {
	opts := postgresOptions(t)
	if err := open(t, opts).Close(); err != nil {
		t.Fatal(err)
	}
	db := raw(t, opts)
	role := "test_" + strings.ToLower(rand.Text())
	execute(t, db, `CREATE ROLE `+role+` LOGIN PASSWORD '`+role+`'`)
	t.Cleanup(func() {
		_, err := db.Exec(`DROP OWNED BY ` + role)
		if _, dropErr := db.Exec(`DROP ROLE ` + role); dropErr != nil {
			t.Error(err, dropErr)
		}
	})
	execute(t, db, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO `+role)
	execute(t, db, `GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO `+role)
	target, err := url.Parse(opts.URL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	target.User = url.UserPassword(role, role)
	opts.URL = adapter.NewSecret(target.String())
	s := open(t, store.WithPatience(opts, 100*time.Millisecond))
	q := connection(t, s, "default", "tenant")
	for i, grant := range []string{"INSERT ON queue", "DELETE ON queue", "INSERT ON deliveries",
		"USAGE ON SEQUENCE delivery_ids", "UPDATE ON commits"} {
		execute(t, db, `REVOKE `+grant+` FROM `+role)
		awaitReady(t, s, "grant the user")
		err := q.Accept(context.Background(), []adapter.Arrival{event("message-" + grant)})
		if i != 1 && i != 2 && !errors.As(err, new(*adapter.UnavailableError)) {
			t.Errorf("accepted without %s: %v", grant, err)
		}
		execute(t, db, `GRANT `+grant+` TO `+role)
		awaitReady(t, s, "")
	}
}

// TestReadOnlyDatabase has the database become read-only, as a standby is, without
// traffic.
func TestReadOnlyDatabase(t *testing.T) {
	opts := postgresOptions(t)
	if err := open(t, opts).Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, store.WithPatience(opts, 100*time.Millisecond))
	db := raw(t, opts)
	var name string
	if err := db.QueryRow(`SELECT current_database()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	readOnly := func(setting string) {
		execute(t, db, `ALTER DATABASE `+name+` SET default_transaction_read_only = `+setting)
		execute(t, db,
			`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <>
				pg_backend_pid()`)
	}
	db.SetMaxOpenConns(1)
	readOnly("on")
	awaitReady(t, s, "name the primary")
	execute(t, db, `SET default_transaction_read_only = off`)
	readOnly("off")
	awaitReady(t, s, "")
}
