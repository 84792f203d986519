package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/jackc/pgx/v5"
)

// probe tests the writes that accept and settle events, but changes no row except its own. So it also fails if a
// grant is missing.
func (e *postgresEngine) probe(ctx context.Context) error {
	return e.useConnection(ctx, func() error {
		return pgx.BeginTxFunc(ctx, e.pool, durableOptions, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, e.probeStatement())
			return err
		})
	})
}

// probeStatement is the statement of a probe. If the process is no server it keeps the time, because the time tells
// when a server wrote last.
func (e *postgresEngine) probeStatement() string {
	at := "now()"
	if e.operators {
		at = "probed_at"
	}
	return probeSQL + at + " WHERE nextval('delivery_ids') > 0"
}

func (e *postgresEngine) probed(ctx context.Context, tx *sql.Tx) (at time.Time, err error) {
	err = tx.QueryRowContext(ctx, `SELECT probed_at FROM probe`).Scan(&at)
	return at, err
}

const probeSQL = `WITH
	accepted AS (INSERT INTO queue (id) SELECT id FROM queue WHERE false),
	again AS (UPDATE queue SET due_at = due_at WHERE false),
	leased AS (INSERT INTO leases (id) SELECT id FROM leases WHERE false),
	sending AS (UPDATE leases SET sending_at = sending_at WHERE false),
	ended AS (DELETE FROM leases WHERE false),
	settled AS (DELETE FROM queue WHERE false),
	logged AS (INSERT INTO deliveries (id) SELECT id FROM deliveries WHERE false),
	kept AS (INSERT INTO payloads (delivery) SELECT delivery FROM payloads WHERE false),
	letters AS (INSERT INTO dead_letters (delivery) SELECT delivery FROM dead_letters WHERE false),
	named AS (INSERT INTO event_names (name) SELECT name FROM event_names WHERE false),
	added AS (INSERT INTO totals (events) SELECT events FROM totals WHERE false),
	counted AS (UPDATE totals SET events = events WHERE false),
	marked AS (
		INSERT INTO commits (writer, token, written_at) SELECT writer, token, written_at FROM commits WHERE false),
	remarked AS (UPDATE commits SET token = token WHERE false)
	UPDATE probe SET probed_at = `
