package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"segment-saasquatch/adapter"
)

// balance has the counts of one connection.
type balance struct {
	totals  map[adapter.Outcome]int64
	removed map[adapter.Outcome]int64
	rows    map[adapter.Outcome]int64
	// bytes are the sizes of the payloads of pending events, and of the kept payloads of rejected and dead ones.
	bytes map[adapter.Outcome]int64
	// found are the sizes of the payloads of rejected and dead deliveries in the table.
	found map[adapter.Outcome]int64
}

// balances are those of the connections, by number.
type balances map[int64]*balance

// of returns the balance of a connection, and makes one if there is none.
func (all balances) of(connection int64) *balance {
	b := all[connection]
	if b == nil {
		b = &balance{
			totals: make(map[adapter.Outcome]int64), removed: make(map[adapter.Outcome]int64),
			rows: make(map[adapter.Outcome]int64), bytes: make(map[adapter.Outcome]int64),
			found: make(map[adapter.Outcome]int64),
		}
		all[connection] = b
	}
	return b
}

// readTotals reads the running totals by the number of the connection.
func readTotals(ctx context.Context, tx *sql.Tx) (balances, error) {
	all := make(balances)
	var connection, events, removed, bytes int64
	var outcome adapter.Outcome
	rows, err := tx.QueryContext(ctx, `SELECT connection, outcome, CAST(sum(events) AS bigint),
		CAST(sum(removed) AS bigint), CAST(sum(bytes) AS bigint) FROM totals GROUP BY connection, outcome`)
	err = eachRow(rows, err, func() {
		b := all.of(connection)
		b.totals[outcome], b.removed[outcome], b.bytes[outcome] = events, removed, bytes
	}, &connection, &outcome, &events, &removed, &bytes)
	return all, err
}

// Totals returns the running totals; see [adapter.DeliveryStore].
func (s *Store) Totals(ctx context.Context) ([]adapter.Totals, error) {
	totals, err := readByConnection(ctx, s, s.observe, func(name string, b *balance) adapter.Totals {
		return b.asTotals(name)
	})
	return totals, wrap("read the totals", err)
}

// readByConnection reads the running totals, and converts them in the order of the connections' names.
func readByConnection[T any](
	ctx context.Context, s *Store, read func(context.Context, func(*sql.Tx) error) error,
	convert func(name string, b *balance) T,
) ([]T, error) {
	return readValue(ctx, read, func(tx *sql.Tx) ([]T, error) {
		all, err := readTotals(ctx, tx)
		if err != nil {
			return nil, err
		}
		return inOrder(s.names, all, func(name string, b *balance) (T, error) { return convert(name, b), nil })
	})
}

func (b *balance) asTotals(name string) adapter.Totals {
	totals := adapter.Totals{
		Connection: name, Accepted: b.totals[accepted], Events: make(map[adapter.Outcome]int64, len(adapter.Outcomes)),
	}
	for _, outcome := range adapter.Outcomes {
		totals.Events[outcome] = b.totals[outcome]
	}
	totals.PayloadBytes = map[adapter.Outcome]int64{
		adapter.Rejected: b.bytes[adapter.Rejected], adapter.Dead: b.bytes[adapter.Dead],
	}
	return totals
}

// inOrder converts the balances in the order of the connections' names.
func inOrder[T any](n *names, all balances, convert func(string, *balance) (T, error)) ([]T, error) {
	byName := make(map[string]*balance, len(all))
	for id, b := range all {
		name, err := n.name(id)
		if err != nil {
			return nil, err
		}
		byName[name] = b
	}
	converted := make([]T, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		one, err := convert(name, byName[name])
		if err != nil {
			return nil, err
		}
		converted = append(converted, one)
	}
	return converted, nil
}

// Verify counts all rows and compares them with the totals; see [adapter.DeliveryStore].
func (s *Store) Verify(ctx context.Context) ([]adapter.Conservation, error) {
	verified, err := readValue(ctx, s.scan, func(tx *sql.Tx) ([]adapter.Conservation, error) {
		all, err := readTotals(ctx, tx)
		if err != nil {
			return nil, err
		}
		if err := countRows(ctx, tx, all); err != nil {
			return nil, err
		}
		if err := measurePayloads(ctx, tx, all); err != nil {
			return nil, err
		}
		return inOrder(s.names, all, func(name string, b *balance) (adapter.Conservation, error) {
			return b.verify(name), nil
		})
	})
	return verified, wrap("verify the store", err)
}

// countRows counts the rows of the log and of the queue.
func countRows(ctx context.Context, tx *sql.Tx, all balances) error {
	var connection, n int64
	var outcome adapter.Outcome
	rows, err := tx.QueryContext(ctx,
		`SELECT connection, outcome, count(*) FROM deliveries GROUP BY connection, outcome
		UNION ALL SELECT connection, 6, count(*) FROM queue GROUP BY connection`)
	return eachRow(rows, err, func() { all.of(connection).rows[outcome] = n }, &connection, &outcome, &n)
}

// measurePayloads adds up the payloads of rejected and dead deliveries. It leaves out those of an earlier version that
// are not counted yet.
func measurePayloads(ctx context.Context, tx *sql.Tx, all balances) error {
	var connection, bytes int64
	var outcome adapter.Outcome
	rows, err := tx.QueryContext(ctx, `SELECT d.connection, d.outcome, CAST(sum(length(p.payload)) AS bigint)
		FROM deliveries d JOIN payloads p ON p.delivery = d.id
		WHERE d.outcome IN (4, 5) AND (NOT EXISTS (SELECT 1 FROM uncounted_dead_letters)
			OR EXISTS (SELECT 1 FROM dead_letters l WHERE l.outcome = d.outcome AND l.delivery = d.id))
		GROUP BY d.connection, d.outcome`)
	return eachRow(rows, err, func() { all.of(connection).found[outcome] = bytes }, &connection, &outcome, &bytes)
}

// verify compares the rows with the totals.
func (b *balance) verify(name string) adapter.Conservation {
	c := adapter.Conservation{
		Totals: b.asTotals(name), Rows: make(map[adapter.Outcome]int64),
		Removed: make(map[adapter.Outcome]int64), Faults: []string{},
	}
	var sum int64
	for _, outcome := range adapter.Outcomes {
		events := b.totals[outcome]
		sum += events
		c.Rows[outcome], c.Removed[outcome] = b.rows[outcome], b.removed[outcome]
		if kept := events - b.removed[outcome]; kept != b.rows[outcome] {
			c.Faults = append(c.Faults, fmt.Sprintf("%s: %d counted less %d removed are %d, but there are %d rows",
				outcome, events, b.removed[outcome], kept, b.rows[outcome]))
		}
		if isDeadLetter(outcome) && b.bytes[outcome] != b.found[outcome] {
			c.Faults = append(c.Faults, fmt.Sprintf("%s: payloads of %d bytes counted, but there are %d bytes",
				outcome, b.bytes[outcome], b.found[outcome]))
		}
	}
	if sum != b.totals[accepted] {
		c.Faults = append(c.Faults,
			fmt.Sprintf("%d accepted, but %d have an outcome or are pending", b.totals[accepted], sum))
	}
	return c
}

// Backlog describes the pending events of each connection; see [adapter.DeliveryStore].
func (s *Store) Backlog(ctx context.Context) ([]adapter.Backlog, error) {
	backlogs, err := readValue(ctx, s.observe, func(tx *sql.Tx) ([]adapter.Backlog, error) {
		all, err := readTotals(ctx, tx)
		if err != nil {
			return nil, err
		}
		heads, err := s.queueHeads(ctx, tx)
		if err != nil {
			return nil, err
		}
		return inOrder(s.names, all, func(name string, b *balance) (adapter.Backlog, error) {
			backlog := adapter.Backlog{
				Connection: name, Events: b.totals[adapter.Pending], Bytes: b.bytes[adapter.Pending],
			}
			if backlog.Events == 0 {
				return backlog, nil
			}
			id, _ := s.names.find(name)
			return backlog, s.describeBacklog(ctx, tx, id, heads[id], &backlog)
		})
	})
	return backlogs, wrap("describe the backlog", err)
}
