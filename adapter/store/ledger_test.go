package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter/store"
)

// ledger is what fillLedger puts into a new store: settled events of the connection
// "busy" and pending ones, all of the tenant "tenant". The first rareRows of them are of
// each kind that is rare: they belong to the connection "quiet", to run 7 and to the user
// "rare", and are skipped, rejected or dead for the reason "rare_reason".
type ledger struct {
	settled, pending int64
	// from is when the first event was received, and to when the last one was.
	from, to time.Time
}

const rareRows = 30

// fillLedger fills the tables of a new store by statements for all rows at once. Names
// of connections and tenants are those of the store; numbers 1 and 2 are the connections.
func fillLedger(t testing.TB, opts store.Options, l ledger) {
	t.Helper()
	s := open(t, opts)
	for _, name := range []string{"busy", "quiet"} {
		connection(t, s, name, "tenant")
	}
	closeStore(t, s)
	db := raw(t, opts)
	db.SetMaxOpenConns(1) // the settings are a connection's
	numbers := `WITH RECURSIVE numbers (n) AS (SELECT %d UNION ALL SELECT n + 1 FROM numbers WHERE n < %d) `
	userHash, messageID, payload := `abs(random()) >> 31`, `printf('5e8a1d3c-7f42-4b6e-9a0d-%012d', n)`,
		`zeroblob(200)`
	after := []string{
		`UPDATE counter SET next_id = %[1]d, indexed_id = %[1]d`,
		`INSERT INTO messages SELECT * FROM (SELECT abs(random()) >> 15, id FROM deliveries) ORDER BY 1`,
	}
	if opts.Path == "" {
		numbers = `WITH numbers (n) AS (SELECT generate_series(%d::bigint, %d)) `
		userHash, messageID, payload = `(random() * 4294967295)::bigint`,
			`'5e8a1d3c-7f42-4b6e-9a0d-' || lpad(n::text, 12, '0')`, `decode(repeat('00', 200), 'hex')`
		after = []string{`SELECT setval('delivery_ids', greatest(%d, 1))`, `VACUUM ANALYZE`, `CHECKPOINT`}
	} else {
		execute(t, db, `PRAGMA synchronous = off`)
		execute(t, db, `PRAGMA cache_size = -100000`)
	}
	last := l.settled + l.pending
	received := fmt.Sprintf(`%d + n * %d / %d`, l.from.UnixMilli(), l.to.Sub(l.from).Milliseconds(), max(last, 1))
	ids := names(t, db)
	const busy, quiet, tenant = "busy", "quiet", "tenant"
	rare := `CASE WHEN n <= ` + strconv.Itoa(rareRows) + ` THEN %s ELSE %s END`
	restore := dropIndexes(t, db, opts)
	if l.settled > 0 {
		execute(t, db, fmt.Sprintf(numbers, 1, l.settled)+`INSERT INTO deliveries (id, connection, tenant, outcome,
			body_hash, message_id, user_hash, user_id, event_key,
				received_at, first_attempt_ms, last_attempt_ms, settled_ms, attempts, status, ambiguous, reason, run)
			SELECT n, `+fmt.Sprintf(rare, ids[quiet], ids[busy])+`, `+ids[tenant]+`,
				`+fmt.Sprintf(rare, "3 + n % 3", "1")+`, 0, `+messageID+`,
				`+fmt.Sprintf(rare, strconv.FormatInt(store.UserHash("rare"), 10), userHash)+`,
				`+fmt.Sprintf(rare, "'rare'", "'user-' || n % 100000")+`, 'order_completed',
				`+received+`, 5, 5, 200, 1, 200, 0, `+fmt.Sprintf(rare, "'rare_reason'", "NULL")+`,
				`+fmt.Sprintf(rare, "7", "NULL")+` FROM numbers`)
	}
	if l.pending > 0 {
		execute(t, db, fmt.Sprintf(numbers, l.settled+1, last)+`INSERT INTO queue (id, connection, tenant, due_at,
			body_hash, message_id, user_id, event_key, received_at, payload)
			SELECT n, `+fmt.Sprintf(strings.ReplaceAll(rare, "n <=", "n - "+strconv.FormatInt(l.settled, 10)+" <="),
			ids[quiet], ids[busy])+`, `+ids[tenant]+`, `+received+`,
				0, `+messageID+`, 'user-' || n % 100000, 'order_completed', `+received+`, `+payload+` FROM numbers`)
	}
	restore()
	execute(t, db, `INSERT INTO totals (connection, shard, outcome, events, removed, bytes)
		SELECT connection, 0, outcome, count(*), 0, 0 FROM deliveries GROUP BY connection, outcome
		UNION ALL SELECT connection, 0, 6, count(*), 0, sum(length(payload)) FROM queue GROUP BY connection`)
	execute(t, db, `INSERT INTO totals (connection, shard, outcome, events, removed, bytes)
		SELECT connection, 0, 0, sum(events), 0, 0 FROM totals GROUP BY connection`)
	execute(t, db, `INSERT INTO run_outcomes (run, shard, outcome, reason, events)
		SELECT run, 0, outcome, reason, count(*) FROM deliveries WHERE run IS NOT NULL GROUP BY run, outcome, reason`)
	for _, statement := range after {
		if strings.Contains(statement, "%") {
			statement = fmt.Sprintf(statement, last+1)
		}
		execute(t, db, statement)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// names returns the numbers of names, as they stand in SQL.
func names(t testing.TB, db *sql.DB) map[string]string {
	t.Helper()
	rows, err := db.Query(`SELECT id, name FROM names`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	ids := make(map[string]string)
	for rows.Next() {
		var id, name string
		if err := rows.Scan(&id, &name); err != nil {
			t.Fatal(err)
		}
		ids[name] = id
	}
	return ids
}

// dropIndexes drops the indexes of the large tables, so that they can be filled fast, and
// returns the function that makes them again.
func dropIndexes(t testing.TB, db *sql.DB, opts store.Options) (restore func()) {
	t.Helper()
	query :=
		`SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name IN ('deliveries', 'queue')
			AND sql IS NOT NULL`
	if opts.Path == "" {
		query =
			`SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
				AND tablename IN ('deliveries', 'queue') AND indexname NOT LIKE '%pkey'`
	}
	rows, err := db.QueryContext(context.Background(), query)
	if err != nil {
		t.Fatal(err)
	}
	definitions := make(map[string]string)
	for rows.Next() {
		var name, definition string
		if err := rows.Scan(&name, &definition); err != nil {
			t.Fatal(err)
		}
		definitions[name] = definition
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	for name := range definitions {
		execute(t, db, `DROP INDEX `+name)
	}
	return func() {
		for _, definition := range definitions {
			execute(t, db, definition)
		}
	}
}
