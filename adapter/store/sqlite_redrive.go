package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// Paces of operators' work: in the process that has the writer, and beside it.
var (
	// With sqlitePace, a step takes about as long as a request that stores some events.
	sqlitePace = pace{
		minRows: 16, maxRows: 512, bytes: 256 << 10, work: time.Millisecond, rest: 2 * time.Millisecond, factor: 4,
	}
	// With besidePace, a rest is longer than the other process sleeps before it tries again: SQLite waits for a lock
	// in naps of 1, 2, 5, 10 ms and so on, each shorter than the time waited so far.
	besidePace = pace{
		minRows: 16, maxRows: 512, bytes: 256 << 10, work: time.Millisecond, rest: 5 * time.Millisecond, factor: 2,
	}
)

func (e *sqliteEngine) pace() pace {
	if e.shared {
		return besidePace
	}
	return sqlitePace
}

// rewriteHead makes the table r with one row.
var rewriteHead = `WITH r (` + rewriteColumns + `) AS (VALUES (` +
	repeat("?", strings.Count(rewriteColumns, ",")+1) + `)) `

// rewrite runs the statement once for each row. The statement stays prepared.
func (e *sqliteEngine) rewrite(ctx context.Context, _ *sql.Tx, statement string, rows []rewritten) error {
	prepared := e.rewrites[statement]
	if prepared == nil {
		var err error
		if prepared, err = e.connection.PrepareContext(ctx, rewriteHead+statement); err != nil {
			return fmt.Errorf("prepare %q: %w", statement, err)
		}
		e.rewrites[statement] = prepared
	}
	for i := range rows {
		row := &rows[i]
		user := cut(row.as.UserID)
		_, err := prepared.ExecContext(ctx, row.id, row.tenant, row.bodyHash, userHash(row.as.UserID), user,
			accountOf(cut(row.as.AccountID), user), cut(row.as.EventKey), row.event, row.reason, milliseconds(row.now))
		if err != nil {
			return fmt.Errorf("delivery %d: %w", row.id, err)
		}
	}
	return nil
}
