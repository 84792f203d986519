package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"segment-saasquatch/adapter"
)

// conditions is a WHERE clause in the making.
type conditions struct {
	clauses []string
	args    []any
}

// add adds a condition; each ? in it stands for the next of args.
func (c *conditions) add(clause string, args ...any) {
	var b strings.Builder
	for _, part := range strings.SplitAfter(clause, "?") {
		if text, ok := strings.CutSuffix(part, "?"); ok {
			c.args = append(c.args, args[0])
			args = args[1:]
			part = text + "$" + strconv.Itoa(len(c.args))
		}
		b.WriteString(part)
	}
	c.clauses = append(c.clauses, b.String())
}

func (c *conditions) where() string {
	if len(c.clauses) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.clauses, " AND ")
}

// table is one of the two that an event can be in.
type table struct {
	name string
	// reason is the expression of the event's reason.
	reason string
	// columns are those of a Delivery, in the order of scanDelivery.
	columns string
}

// logTable has the settled events.
var logTable = table{
	name:   "deliveries",
	reason: "reason",
	columns: `id, connection, message_id, user_id, account_id, (SELECT name FROM event_names WHERE event_names.id = deliveries.event),
	event_key, outcome, reason, detail, status, attempts,
	received_at, received_at + first_attempt_ms, received_at + last_attempt_ms, received_at + settled_ms, NULL, ambiguous <> 0, run, tenant,
	CASE WHEN outcome = 4 AND run IS NOT NULL THEN coalesce((SELECT repeats FROM rejected WHERE delivery = deliveries.id), 0) ELSE 0 END,
	outcome IN (4, 5) AND NOT EXISTS (SELECT 1 FROM payloads WHERE delivery = deliveries.id)`,
}

// queueTable has the pending events. Why one is pending depends on the tenants that
// the connections have.
func (s *Store) queueTable() table {
	reason := s.pendingReason()
	return table{
		name:   "queue",
		reason: reason,
		columns: `id, connection, message_id, user_id, account_id, (SELECT name FROM event_names WHERE event_names.id = queue.event), event_key, 6, ` + reason + `, detail, status, attempts,
	received_at, first_attempt_at, last_attempt_at, NULL, CASE WHEN due_at < ` + heldText + ` THEN due_at END, ambiguous_at IS NOT NULL, run, tenant, 0, 1 = 0`,
	}
}

// tables returns where events with the outcomes are.
func (s *Store) tables(outcomes []adapter.Outcome) []table {
	switch {
	case len(outcomes) == 0:
		return []table{s.queueTable(), logTable}
	case !slices.Contains(outcomes, adapter.Pending):
		return []table{logTable}
	case len(outcomes) == 1:
		return []table{s.queueTable()}
	default:
		return []table{s.queueTable(), logTable}
	}
}

// errNothing means that the filter picks nothing, whatever is in the tables.
var errNothing = errors.New("the filter picks nothing")

// conditions turns the filter into those of a table.
func (s *Store) conditions(ctx context.Context, tx *sql.Tx, t table, f *adapter.Filter) (*conditions, error) {
	c := &conditions{}
	if f.IDs != nil {
		if len(f.IDs) == 0 {
			return nil, errNothing
		}
		c.add("id IN " + idList(f.IDs, func(id *int64) int64 { return *id }))
	}
	if f.Before > 0 {
		c.add("id < ?", f.Before)
	}
	if f.Connection != "" {
		id, ok := s.names.find(f.Connection)
		if !ok {
			return nil, errNothing
		}
		c.add("connection = ?", id)
	}
	if len(f.Outcomes) > 0 && t.name == logTable.name {
		var list []string
		for _, outcome := range f.Outcomes {
			list = append(list, strconv.Itoa(int(outcome)))
		}
		c.add("outcome IN (" + strings.Join(list, ",") + ")")
	}
	if f.Reason != "" {
		c.add(t.reason+" = ?", clean(string(f.Reason)))
	}
	switch {
	case f.Run != 0 && t.name == logTable.name: // with the dead letters that it brought again
		c.add("(run = ? OR id IN (SELECT delivery FROM run_rejected WHERE run_rejected.run = ?))", f.Run, f.Run)
	case f.Run != 0:
		c.add("run = ?", f.Run)
	}
	if f.Tenant != "" {
		c.add("tenant IN " + idList(s.names.ofTenant(f.Tenant), func(id *int64) int64 { return *id }))
	}
	if f.Former {
		c.add(s.byTenant("1 = 0", "1 = 1", "1 = 1"))
	}
	if f.Event != "" {
		c.add("event = (SELECT id FROM event_names WHERE name = ?)", storedName(f.Event))
	}
	if f.EventKey != "" {
		c.add("event_key = ?", cut(f.EventKey))
	}
	if f.MessageID != "" {
		clause, args, err := s.engine.byMessage(ctx, tx, cut(f.MessageID))
		if err != nil {
			return nil, fmt.Errorf("look for the messageId: %w", err)
		}
		c.add(clause, args...)
	}
	if f.UserID != "" && t.name == logTable.name {
		c.add("user_hash = ? AND user_id = ?", userHash(f.UserID), cut(f.UserID))
	} else if f.UserID != "" {
		c.add("user_id = ?", clean(f.UserID))
	}
	return c, s.addTimes(ctx, tx, t, f, c)
}

// addTimes bounds the time of acceptance, and with it the ids, so that not the
// whole log is read for one day.
func (s *Store) addTimes(ctx context.Context, tx *sql.Tx, t table, f *adapter.Filter, c *conditions) error {
	if !f.Since.IsZero() {
		id, err := firstSince(ctx, tx, t, f.Since.Add(-idSlack))
		if err != nil {
			return err
		}
		c.add("id >= ? AND received_at >= ?", id, milliseconds(f.Since))
	}
	if !f.Until.IsZero() {
		id, err := firstSince(ctx, tx, t, f.Until.Add(idSlack))
		if err != nil {
			return err
		}
		c.add("id <= ? AND received_at < ?", id, milliseconds(f.Until))
	}
	return nil
}

// idSlack is how far ids and times of acceptance may be out of step: by the time
// that a transaction takes, and by the clocks of several machines.
const idSlack = 10 * time.Minute

// firstSince returns an id that about splits the table at the time, by bisection.
func firstSince(ctx context.Context, tx *sql.Tx, t table, at time.Time) (int64, error) {
	var low, high sql.NullInt64
	if err := tx.QueryRowContext(ctx, `SELECT min(id), max(id) FROM `+t.name).Scan(&low, &high); err != nil {
		return 0, fmt.Errorf("bound the ids: %w", err)
	}
	from, to := low.Int64, high.Int64+1
	for from < to {
		middle := from + (to-from)/2
		var id, received int64
		err := tx.QueryRowContext(ctx, `SELECT id, received_at FROM `+t.name+` WHERE id >= $1 ORDER BY id LIMIT 1`, middle).Scan(&id, &received)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			to = middle
		case err != nil:
			return 0, fmt.Errorf("bound the ids: %w", err)
		case received >= milliseconds(at):
			to = middle
		default:
			from = id + 1
		}
	}
	return from, nil
}
