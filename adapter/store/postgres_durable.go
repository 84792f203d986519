package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// durablySQL makes the commit of a transaction wait for the disk, against any setting of the database, the role or a
// pooler. It keeps remote_apply, which waits for longer. The setting is the transaction's own: a pooler keeps no
// setting of a session.
const durablySQL = `SELECT set_config('synchronous_commit', 'on', true)
	WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')`

// durably begins a transaction with durablySQL in one round trip.
var durably = pgx.TxOptions{BeginQuery: steadily.BeginQuery + "; " + durablySQL}

// durablyAs is durably with the mark of the transaction, in the same round trip.
func durablyAs(mark commitMark) pgx.TxOptions {
	return pgx.TxOptions{BeginQuery: durably.BeginQuery + "; " + mark.statement()}
}

// unmarked begins a transaction that is marked later, or not at all.
func unmarked(commitMark) pgx.TxOptions { return steadily }

// checkDurable returns an error if a commit does not wait for the disk.
func (e *postgresEngine) checkDurable(ctx context.Context) error {
	var setting string
	err := e.once(ctx, func() error {
		return pgx.BeginTxFunc(ctx, e.pool, durably, func(tx pgx.Tx) error {
			return tx.QueryRow(ctx, `SELECT current_setting('synchronous_commit')`).Scan(&setting)
		})
	})
	if err != nil {
		return fmt.Errorf("begin a durable transaction: %w", err)
	}
	if !slices.Contains([]string{"on", "remote_apply"}, setting) {
		return fmt.Errorf("synchronous_commit is %s in a transaction that sets it to on, "+
			"so accepted events could be lost: "+
			"connect to PostgreSQL directly, or have the pooler keep a transaction on one connection "+
			"(pool_mode = transaction or session)", setting)
	}
	return nil
}
