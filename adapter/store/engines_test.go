package store_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// forEachEngine runs a test on every engine, each time with the options of a new
// database that can be opened more than once. The test runs beside others, because it
// waits for disks and servers most of the time.
func forEachEngine(t *testing.T, test func(t *testing.T, opts store.Options)) {
	t.Parallel()
	for engine, options := range map[string]func(testing.TB) store.Options{"sqlite": sqliteOptions,
		"postgres": postgresOptions} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			test(t, options(t))
		})
	}
}

func sqliteOptions(t testing.TB) store.Options {
	return store.Options{Path: filepath.Join(t.TempDir(), "data", "adapter.db")}
}

// postgresOptions makes a database of the test's own on a real server.
func postgresOptions(t testing.TB) store.Options {
	t.Helper()
	server := os.Getenv("TEST_POSTGRES")
	if server == "" {
		server = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"
	}
	db, err := sql.Open("pgx", server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no PostgreSQL: %v", err)
		}
		t.Skipf("SKIP: start PostgreSQL with `service postgresql start`, or name one in TEST_POSTGRES: %v", err)
	}
	name := "test_" + strings.ToLower(rand.Text())
	if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.Exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	target.Path = "/" + name
	return store.Options{URL: adapter.NewSecret(target.String())}
}

func open(t testing.TB, opts store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), store.OnOneClock(opts))
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

func connection(t testing.TB, s *store.Store, name, tenant string) *store.Queue {
	t.Helper()
	q, err := s.Connection(context.Background(), name, tenant)
	if err != nil {
		t.Fatal(err)
	}
	return q
}
