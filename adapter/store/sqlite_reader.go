package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"segment-saasquatch/adapter"
)

// leaseReader has the connection that looks for due events, and its statements.
type leaseReader struct {
	conn                                   *sql.Conn
	begin, rollback, due, load, nextHolder rowStatements
}

// loadRows is the most rows that one statement loads.
const loadRows = 64

const dueAfterSQL = `SELECT due_at, id FROM queue WHERE connection = ? AND tenant = ? AND due_at <= ?
	AND (due_at, id) >= (?, ?) ORDER BY due_at, id`

var nextHolderSQL = `SELECT id FROM queue WHERE connection = ? AND tenant = ? AND user_id = ? AND account_id IS ?
	AND id > ? AND id < ? AND ` + holdsText + ` ORDER BY id`

// loadSQL loads rows of the queue, with the first upsert that may keep back the event.
var loadSQL = `SELECT id, connection, tenant, due_at, message_id, body_hash, user_id, account_id, received_at,
	attempts, failed, redriven, first_attempt_at, ambiguous_at, sending_at, payload, run, checksum, holds, reason,
	(SELECT h.id FROM queue h WHERE h.connection = q.connection AND h.tenant = q.tenant AND h.user_id = q.user_id
		AND h.account_id IS q.account_id AND h.id < q.id AND h.` + holdsText + ` ORDER BY h.id LIMIT 1)
FROM queue q WHERE id IN `

// dueRow is a row of the queue, with the first upsert that may keep back the event, 0 if there is none.
type dueRow struct {
	leased                               adapter.Leased
	connection, tenant, due, firstHolder int64
	user                                 userOf
	account                              driver.Value // null if it is the userId
	isAmbiguous                          bool
}

// read takes over a row of loadSQL. SQLite checks the types of the columns when it writes them.
func (r *dueRow) read(row []driver.Value) {
	l := &r.leased
	l.ID, r.connection, r.tenant, r.due = number(row[0]), number(row[1]), number(row[2]), number(row[3])
	l.MessageID, _ = row[4].(string)
	l.Keyed = row[5] == int64(0)
	l.UserID, _ = row[6].(string)
	l.Attempts, l.Failed, l.Redriven = int(number(row[9])), int(number(row[10])), number(row[11]) != 0
	l.Payload, _ = row[15].([]byte) // null for an empty one
	l.Run = number(row[16])
	of := leasedRow{
		account: nullText(row[7]), received: number(row[8]), first: nullNumber(row[12]),
		ambiguous: nullNumber(row[13]), sending: nullNumber(row[14]), checksum: nullNumber(row[17]),
		holds: nullNumber(row[18]), reason: nullText(row[19]),
	}
	of.complete(l)
	r.account, r.user, r.isAmbiguous = row[7], userOf{l.UserID, l.AccountID}, of.ambiguous.Valid
	r.firstHolder = number(row[20])
}

// number returns an integer, 0 for null.
func number(value driver.Value) int64 { return nullNumber(value).Int64 }

func nullNumber(value driver.Value) sql.NullInt64 {
	number, ok := value.(int64)
	return sql.NullInt64{Int64: number, Valid: ok}
}

func nullText(value driver.Value) sql.NullString {
	text, ok := value.(string)
	return sql.NullString{String: text, Valid: ok}
}

func openLeaseReader(ctx context.Context, db *sql.DB) (r leaseReader, err error) {
	if r.conn, err = db.Conn(ctx); err != nil {
		return r, err
	}
	for _, of := range []struct {
		statements *rowStatements
		columns    int
		results    int
		sizes      []int
		text       func(rows int) string
	}{
		{&r.begin, 0, 0, oneRow, func(int) string { return "BEGIN" }},
		{&r.rollback, 0, 0, oneRow, func(int) string { return "ROLLBACK" }},
		{&r.due, 5, 2, oneRow, func(int) string { return dueAfterSQL }},
		{&r.nextHolder, 6, 1, oneRow, func(int) string { return nextHolderSQL }},
		{&r.load, 1, 21, rowSizes, func(rows int) string { return loadSQL + "(" + repeat("?", rows) + ")" }},
	} {
		*of.statements, err = prepareRows(ctx, r.conn, of.columns, of.results, of.sizes, of.text)
		if err != nil {
			return r, errors.Join(err, r.close())
		}
	}
	return r, nil
}

func (r *leaseReader) close() error {
	var errs []error
	for _, statements := range []*rowStatements{&r.begin, &r.rollback, &r.due, &r.nextHolder, &r.load} {
		errs = append(errs, statements.close())
	}
	if r.conn != nil {
		errs = append(errs, r.conn.Close())
	}
	return errors.Join(errs...)
}
