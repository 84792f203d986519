package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// durableSQL makes the commit of a transaction wait for the disk, against any setting of the database, the role or a
// pooler. It keeps remote_apply, which waits for longer. The setting is the transaction's own: a pooler keeps no
// setting of a session.
const durableSQL = `SELECT set_config('synchronous_commit', 'on', true)
	WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')`

// durableOptions begin a transaction with durableSQL in one round trip.
var durableOptions = pgx.TxOptions{BeginQuery: steadyOptions.BeginQuery + "; " + durableSQL}

// markedOptions is durableOptions with the mark of the transaction, in the same round trip.
func markedOptions(mark commitMark) pgx.TxOptions {
	return pgx.TxOptions{BeginQuery: durableOptions.BeginQuery + "; " + mark.statement()}
}

// unmarkedOptions begins a transaction that is marked later, or not at all.
func unmarkedOptions(commitMark) pgx.TxOptions { return steadyOptions }

// checkDurable returns an error if a commit does not wait for the disk.
func (e *postgresEngine) checkDurable(ctx context.Context) error {
	var setting string
	err := e.useConnection(ctx, func() error {
		return pgx.BeginTxFunc(ctx, e.pool, durableOptions, func(tx pgx.Tx) error {
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
