package store_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// formerProgram is what a program of version 6 of PostgreSQL's schema does with the queue: an
// event has its lease in the queue, and is due again at its end.
type formerProgram struct {
	t  *testing.T
	db *sql.DB
}

// formerLease is an event that a former program has in hand.
type formerLease struct {
	id, token   int64
	interrupted bool
}

const formerNow = `(SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint))`

// lease leases up to ten events for some time, in two statements of a transaction.
func (f formerProgram) lease(d time.Duration) (leased []formerLease) {
	f.t.Helper()
	tx, err := f.db.Begin()
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	var ids []int64
	rows, err := tx.Query(`SELECT id, octet_length(payload) FROM queue WHERE connection = 1 AND tenant = 2
		AND due_at <= ` + formerNow + `
		AND due_at <= CASE WHEN lease IS NULL THEN ` + formerNow + ` ELSE ` + formerNow + ` END
		ORDER BY due_at, id LIMIT 10 FOR UPDATE SKIP LOCKED`)
	if err != nil {
		f.t.Fatal(err)
	}
	for rows.Next() {
		var id, bytes int64
		if err := rows.Scan(&id, &bytes); err != nil {
			f.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		f.t.Fatal(err)
	}
	const token = 77
	rows, err = tx.Query(
		`UPDATE queue SET due_at = `+formerNow+` + $1, lease = $2 WHERE id = ANY ($3)
			RETURNING id, sending_at IS NOT NULL`,
		d.Milliseconds(), token, ids)
	if err != nil {
		f.t.Fatal(err)
	}
	for rows.Next() {
		l := formerLease{token: token}
		if err := rows.Scan(&l.id, &l.interrupted); err != nil {
			f.t.Fatal(err)
		}
		leased = append(leased, l)
	}
	if err := errors.Join(rows.Err(), rows.Close(), tx.Commit()); err != nil {
		f.t.Fatal(err)
	}
	return leased
}

// change runs a statement on a leased event and reports whether it found it.
func (f formerProgram) change(statement string, l formerLease) bool {
	f.t.Helper()
	result, err := f.db.Exec(statement+` AND lease = $2`, l.id, l.token)
	if err != nil {
		f.t.Fatal(err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		f.t.Fatal(err)
	}
	return n == 1
}

func (f formerProgram) mark(l formerLease) bool {
	return f.change(`UPDATE queue SET sending_at = 1 WHERE id = $1`, l)
}

func (f formerProgram) settle(l formerLease) bool {
	return f.change(`DELETE FROM queue WHERE id = $1`, l)
}

func (f formerProgram) putBack(l formerLease) bool {
	return f.change(`UPDATE queue SET due_at = `+formerNow+`, lease = NULL, sending_at = NULL WHERE id = $1`, l)
}

// movable reports whether it may move the event to another tenant.
func (f formerProgram) movable(id int64) bool {
	f.t.Helper()
	result, err := f.db.Exec(
		`UPDATE queue SET lease = NULL WHERE id = $1 AND (lease IS NULL OR due_at <= `+formerNow+`)`, id)
	if err != nil {
		f.t.Fatal(err)
	}
	n, err := result.RowsAffected()
	return n == 1 && err == nil
}

// TestBesideFormerProgram has the store lease the same event by turns with a program of the
// former version. One of them has it at a time, and a mark stays, whichever program made it.
func TestBesideFormerProgram(t *testing.T) {
	opts := postgresOptions(t)
	const short = 50 * time.Millisecond
	long := open(t, opts)
	q := connection(t, long, "default", testTenant)
	hasty := connection(t, open(t, store.WithLease(opts, short)), "default", testTenant)
	former := formerProgram{t, raw(t, opts)}
	delivered := adapter.Step{Outcome: adapter.Delivered, At: time.Now()}
	lost := func(q *store.Queue, leased *adapter.Leased) {
		t.Helper()
		if err := q.MarkSending(context.Background(), leased); !errors.Is(err, adapter.ErrLeaseLost) {
			t.Errorf("marked without a lease: %v", err)
		}
		if err := q.Record(context.Background(), leased, delivered); !errors.Is(err, adapter.ErrLeaseLost) {
			t.Errorf("recorded without a lease: %v", err)
		}
		if err := q.Release(context.Background(), []*adapter.Leased{leased}); err != nil {
			t.Error(err)
		}
	}
	accept(t, q, event("message-1"))

	// What the store has in hand is not the former program's, until it is given back.
	ours := lease(t, q, 10)
	if theirs := former.lease(time.Minute); len(ours) != 1 || len(theirs) != 0 || former.movable(ours[0].ID) {
		t.Fatalf("the former program takes %v beside %v", theirs, ours)
	}
	if err := q.Release(context.Background(), pointers(ours)); err != nil {
		t.Fatal(err)
	}
	theirs := former.lease(time.Minute)
	if len(theirs) != 1 || theirs[0].interrupted || len(lease(t, q, 10)) != 0 {
		t.Fatalf("the former program takes %v", theirs)
	}
	lost(q, &ours[0])
	if got := redriveTo(t, long, liveTenant, theirs[0].id); got.Pending != 0 {
		t.Errorf("moved what the former program has in hand: %+v", got)
	}
	if !former.mark(theirs[0]) || !former.putBack(theirs[0]) {
		t.Fatal("the former program has lost its lease")
	}

	// The former program takes over what was being sent when the lease ended.
	ours = eventually(t, func() []adapter.Leased { return lease(t, hasty, 10) })
	if err := hasty.MarkSending(context.Background(), &ours[0]); err != nil || ours[0].Interrupted {
		t.Fatal(ours[0].Interrupted, err)
	}
	theirs = eventually(t, func() []formerLease { return former.lease(short) })
	if !theirs[0].interrupted {
		t.Error("the former program does not learn of the mark")
	}
	lost(hasty, &ours[0])
	if !former.mark(theirs[0]) {
		t.Fatal("the former program has lost its lease")
	}

	// And the other way round.
	ours = eventually(t, func() []adapter.Leased { return lease(t, q, 10) })
	if !ours[0].Interrupted {
		t.Error("the store does not learn of the mark")
	}
	if former.mark(theirs[0]) || former.putBack(theirs[0]) || former.settle(theirs[0]) ||
		len(former.lease(time.Minute)) != 0 {
		t.Error("the former program has a lease that is over")
	}
	now := time.Now()
	record(t, q, ours, adapter.Step{Outcome: adapter.Pending, Reason: mapping.ReasonTimeout, Began: now, At: now,
		Due: now})
	if theirs = former.lease(time.Minute); len(theirs) != 1 || theirs[0].interrupted || !former.putBack(theirs[0]) {
		t.Fatalf("the former program takes %v", theirs)
	}
	record(t, q, lease(t, q, 10), delivered)
	balanced(t, long)
}

// eventually calls a function until it returns something.
func eventually[T any](t *testing.T, try func() []T) (list []T) {
	t.Helper()
	await(t, func() bool {
		list = try()
		return len(list) > 0
	})
	return list
}
