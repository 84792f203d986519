package store

import (
	"context"
	"database/sql"
	"time"
)

// postgresPace is the pace of operators' work. A step of any size takes a dozen round trips. Events do not wait for
// its locks, but share the disk and the processors with it.
var postgresPace = pace{
	minRows: 100, maxRows: 400, bytes: 1 << 20, work: 10 * time.Millisecond, rest: 5 * time.Millisecond, factor: 3,
}

func (e *postgresEngine) pace() pace { return postgresPace }

// yield does nothing: events need not wait for the step.
func (e *postgresEngine) yield(context.Context) {}

// stepped does nothing: PostgreSQL maintains its log.
func (e *postgresEngine) stepped(context.Context) {}

const postgresRewriteHead = `WITH r AS (
	SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[],
		$8::bigint[], $9::text[], $10::bigint[])
	AS r (` + rewriteColumns + `)) `

// rewrite runs the statement once for all rows.
func (e *postgresEngine) rewrite(ctx context.Context, tx *sql.Tx, statement string, rows []rewritten) error {
	n := len(rows)
	ids, tenants, times := make([]int64, n), make([]int64, n), make([]int64, n)
	bodyHashes, userHashes, events := make([]*int64, n), make([]*int64, n), make([]*int64, n)
	users, keys := make([]string, n), make([]string, n)
	accounts, reasons := make([]*string, n), make([]*string, n)
	for i := range rows {
		row := &rows[i]
		ids[i], tenants[i], times[i] = row.id, row.tenant, milliseconds(row.now)
		bodyHashes[i], userHashes[i] = asPointer[int64](row.bodyHash), asPointer[int64](userHash(row.as.UserID))
		users[i], keys[i] = cut(row.as.UserID), cut(row.as.EventKey)
		accounts[i] = asPointer[string](accountOf(cut(row.as.AccountID), users[i]))
		events[i], reasons[i] = asPointer[int64](row.event), asPointer[string](row.reason)
	}
	_, err := tx.ExecContext(ctx, postgresRewriteHead+statement,
		ids, tenants, bodyHashes, userHashes, users, accounts, keys, events, reasons, times)
	return err
}
