package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"segment-saasquatch/adapter"

	"github.com/jackc/pgx/v5"
)

// Bounds of the question whether a transaction was committed.
const (
	// resolveTimeout bounds the wait for the answer.
	resolveTimeout = 30 * time.Second
	// askTimeout bounds one question. A server that is still committing answers after the commit.
	askTimeout = 5 * time.Second
	// commitsRetention is how long the row of a writer stays that writes nothing. A process that asks for an outcome
	// later than that takes the lease for lost.
	commitsRetention = "1 day"
)

// askRest is the pause after a question without an answer.
var askRest = adapter.Backoff{Base: 50 * time.Millisecond, Max: time.Second}

// commitMark identifies a transaction in the database: the transaction writes the token into the writer's row. A
// transaction id of PostgreSQL cannot serve: after a crash before the transaction is on disk, or a failover, the
// server assigns the id again.
type commitMark struct{ writer, token int64 }

// statement writes the mark. It has no parameters, so it can share a message with other statements. The transaction
// then holds the row until it ends.
func (m commitMark) statement() string {
	return fmt.Sprintf(`INSERT INTO commits (writer, token, written_at) VALUES (%d, %d, now())
		ON CONFLICT (writer) DO UPDATE SET token = excluded.token, written_at = excluded.written_at`,
		m.writer, m.token)
}

// commitWriters are the writers of this process. A writer has one transaction at a time.
type commitWriters struct {
	mu   sync.Mutex
	idle []int64
}

// begin returns the mark of a new transaction.
func (w *commitWriters) begin() commitMark {
	w.mu.Lock()
	defer w.mu.Unlock()
	mark := commitMark{token: rand.Int64()}
	if n := len(w.idle); n > 0 {
		mark.writer, w.idle = w.idle[n-1], w.idle[:n-1]
	} else {
		mark.writer = rand.Int64()
	}
	return mark
}

// ended takes back the writer of a transaction that has certainly ended. After any other end, the server may still
// hold the row.
func (w *commitWriters) ended(m commitMark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = append(w.idle, m.writer)
}

// notCommittedError means that the connection was lost during a COMMIT, and that the
// transaction was not committed.
type notCommittedError struct{ error }

func (e *notCommittedError) Unwrap() error { return e.error }

// transact runs fn in a transaction. Fn or the BeginQuery of the options has to mark it. An error means that it was
// not committed, unless it is an unknownCommitError.
func (e *postgresEngine) transact(
	ctx context.Context, opts func(commitMark) pgx.TxOptions, fn func(pgx.Tx, commitMark) error,
) error {
	var tx pgx.Tx
	var mark commitMark
	leave, err := e.begin(ctx, func() (err error) {
		mark = e.writers.begin() // a new mark each time: a lost connection may still hold the row
		tx, err = e.pool.BeginTx(ctx, opts(mark))
		return err
	})
	if err != nil {
		return err
	}
	err = fn(tx, mark)
	return e.end(mark, leave, err,
		func() error { return tx.Commit(ctx) }, func() error { return tx.Rollback(ctx) })
}

// end commits a transaction, or rolls it back after an error, and gives back its connection.
func (e *postgresEngine) end(mark commitMark, leave func(), err error, commit, rollback func() error) error {
	if err != nil {
		failed := rollback()
		leave()
		if failed == nil {
			e.writers.ended(mark)
		}
		return err // the caller acts on it, not on a failed rollback
	}
	err = commit()
	leave()
	return e.afterCommit(mark, err)
}

// afterCommit returns nil if the transaction was committed, given the error of COMMIT. It asks the database if the
// error leaves that open.
func (e *postgresEngine) afterCommit(mark commitMark, err error) error {
	if err == nil || isConflict(err) || errors.Is(err, pgx.ErrTxCommitRollback) {
		e.writers.ended(mark)
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), e.resolveFor)
	defer cancel()
	for rest := askRest; ; {
		committed, failed := e.committed(ctx, mark)
		switch {
		case failed == nil && committed:
			e.writers.ended(mark)
			return nil
		case failed == nil:
			e.writers.ended(mark)
			return &notCommittedError{fmt.Errorf("commit: %w", err)}
		}
		if adapter.Wait(ctx, rest.Next()) != nil {
			return &unknownCommitError{
				committed: func(ctx context.Context) (bool, error) { return e.committed(ctx, mark) },
				err: errors.Join(fmt.Errorf("commit: %w", err),
					fmt.Errorf("ask whether it was committed: %w", failed)),
			}
		}
	}
}

// committed asks whether the transaction with the mark was committed. The statement needs the row that the
// transaction holds. So it waits for a transaction that the server is still committing. Once it has the answer, the
// transaction can no longer commit.
func (e *postgresEngine) committed(ctx context.Context, mark commitMark) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	const none = -1 // no token
	var token int64
	err := e.useConnection(ctx, func() error {
		return e.pool.QueryRow(ctx, `INSERT INTO commits (writer, token, written_at) VALUES ($1, $2, now())
			ON CONFLICT (writer) DO UPDATE SET written_at = excluded.written_at RETURNING token`, mark.writer, none).
			Scan(&token)
	})
	return err == nil && token == mark.token, err
}

// forgetCommits removes the rows of processes that have ended.
func (e *postgresEngine) forgetCommits(ctx context.Context) error {
	err := e.useConnection(ctx, func() error {
		_, err := e.pool.Exec(ctx, `DELETE FROM commits WHERE written_at < now() - interval '`+commitsRetention+`'`)
		return err
	})
	return wrap("remove the rows of earlier processes", err)
}
