package store_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"segment-saasquatch/adapter/store"
)

// TestMigrationIsTold opens the tables of an earlier version. What their migration takes is
// said before it begins, and an open that migrates nothing says nothing.
func TestMigrationIsTold(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		formerStore(t, opts, time.Now())
		var told []store.Migration
		opts.OnMigration = func(m store.Migration) {
			told = append(told, m)
			var newest int64
			if err := raw(t, opts).QueryRow(`SELECT max(version_id) FROM schema_version`).Scan(&newest); err != nil ||
				newest != 2 {
				t.Errorf("told when the schema has version %d, %v", newest, err)
			}
		}
		for range 2 {
			closeStore(t, open(t, opts))
		}
		if len(told) != 1 {
			t.Fatalf("told %+v", told)
		}
		m := told[0]
		if m.From != 2 || m.To < 5 || m.Pending != 1 || m.Settled != 3 || m.Takes <= 0 || m.Room <= 0 {
			t.Errorf("told %+v", m)
		}
	})
	opts := sqliteOptions(t)
	opts.OnMigration = func(m store.Migration) { t.Errorf("a new store is told of: %+v", m) }
	open(t, opts)
}

// TestMigrationsHaveCosts wants a cost for each migration.
func TestMigrationsHaveCosts(t *testing.T) {
	for _, engine := range []string{"sqlite", "postgres"} {
		files, err := os.ReadDir("migrations/" + engine)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			version, err := goose.NumericComponent(file.Name())
			if err != nil || !strings.HasSuffix(file.Name(), ".sql") {
				t.Fatal(file.Name(), err)
			}
			if !store.HasMigrationCost(engine, version) {
				t.Errorf("write what %s/%s costs into migrationCosts: nothing, if it only adds tables and columns",
					engine, file.Name())
			}
		}
	}
}

// TestAdditionsOfNewerVersion opens tables to which a newer version has added something.
func TestAdditionsOfNewerVersion(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		closeStore(t, open(t, opts))
		db := raw(t, opts)
		for _, statement := range []string{
			`CREATE TABLE IF NOT EXISTS schema_additions (version_id bigint, is_applied boolean)`,
			`INSERT INTO schema_additions (version_id, is_applied) VALUES (99, true)`,
		} {
			execute(t, db, statement)
		}
		opts.OnMigration = func(m store.Migration) { t.Errorf("told %+v", m) }
		closeStore(t, open(t, opts))
		opts.Shared = true
		closeStore(t, open(t, opts))
	})
}
