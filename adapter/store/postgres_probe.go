package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// probe writes as accepting and settling events do, to no row but its own: that fails too
// where a grant is missing.
func (e *postgresEngine) probe(ctx context.Context) error {
	return e.once(ctx, func() error {
		return pgx.BeginTxFunc(ctx, e.pool, durably, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, probeSQL)
			return err
		})
	})
}

const probeSQL = `WITH
	accepted AS (INSERT INTO queue (id) SELECT id FROM queue WHERE false),
	leased AS (UPDATE queue SET due_at = due_at WHERE false),
	settled AS (DELETE FROM queue WHERE false),
	logged AS (INSERT INTO deliveries (id) SELECT id FROM deliveries WHERE false),
	kept AS (INSERT INTO payloads (delivery) SELECT delivery FROM payloads WHERE false),
	letters AS (INSERT INTO dead_letters (delivery) SELECT delivery FROM dead_letters WHERE false),
	named AS (INSERT INTO event_names (name) SELECT name FROM event_names WHERE false),
	added AS (INSERT INTO totals (events) SELECT events FROM totals WHERE false),
	counted AS (UPDATE totals SET events = events WHERE false),
	marked AS (INSERT INTO commits (writer, token, written_at) SELECT writer, token, written_at FROM commits WHERE false),
	remarked AS (UPDATE commits SET token = token WHERE false)
	UPDATE probe SET probed_at = now() WHERE nextval('delivery_ids') > 0`
