package store_test

import (
	"testing"
	"time"

	"segment-saasquatch/adapter"
)

// TestSynchronousCommit accepts and settles events on a database whose sessions begin with
// each level of durability, as roles and poolers can have it. No transaction has less than
// on, and none of those that have more has less.
func TestSynchronousCommit(t *testing.T) {
	opts := postgresOptions(t)
	db := raw(t, opts)
	if err := open(t, opts).Close(); err != nil {
		t.Fatal(err)
	}
	execute(t, db, `CREATE TABLE seen (setting text)`)
	execute(t, db, `CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL;
	END $$`)
	for _, table := range []string{"queue", "deliveries", "event_names"} {
		execute(t, db, `CREATE TRIGGER see AFTER INSERT ON `+table+` FOR EACH ROW EXECUTE FUNCTION see()`)
	}
	for setting, want := range map[string]string{
		"off": "on", "local": "on", "remote_write": "on", "on": "on", "remote_apply": "remote_apply",
	} {
		var name string
		if err := db.QueryRow(`SELECT current_database()`).Scan(&name); err != nil {
			t.Fatal(err)
		}
		execute(t, db, `ALTER DATABASE `+name+` SET synchronous_commit = `+setting)
		execute(t, db, `TRUNCATE seen`)
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		arrival := event("message-" + setting)
		arrival.Event = "Event " + setting
		accept(t, q, arrival)
		record(t, q, lease(t, q, 1), adapter.Step{Outcome: adapter.Delivered, At: time.Now()})
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		var seen string
		var rows int
		if err := db.QueryRow(`SELECT string_agg(DISTINCT setting, ' '), count(*) FROM seen`).Scan(&seen,
			&rows); err != nil {
			t.Fatal(err)
		}
		if seen != want || rows != 3 {
			t.Errorf("%s: %d transactions had %s, want 3 with %s", setting, rows, seen, want)
		}
	}
}
