package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

var _ adapter.DeliveryStore = (*Store)(nil)

// Find returns deliveries, newest first; see [adapter.DeliveryStore].
func (s *Store) Find(ctx context.Context, filter adapter.Filter, limit int) ([]adapter.Delivery, error) {
	search := func(ctx context.Context, fn func(*sql.Tx) error) error { return s.search(ctx, &filter, fn) }
	found, err := readValue(ctx, search, func(tx *sql.Tx) ([]adapter.Delivery, error) {
		return s.find(ctx, tx, filter, limit)
	})
	return found, wrap("find deliveries", err)
}

func (s *Store) find(ctx context.Context, tx *sql.Tx, filter adapter.Filter, limit int) ([]adapter.Delivery, error) {
	var found []adapter.Delivery
	err := s.eachSource(ctx, tx, &filter, func(from *source, c *conditions) error {
		query, args := from.query(c, limit)
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		for rows.Next() {
			delivery, err := s.scanDelivery(rows)
			if err != nil {
				return errors.Join(err, rows.Close())
			}
			found = append(found, delivery)
		}
		return errors.Join(rows.Err(), rows.Close())
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b adapter.Delivery) int { return cmp.Compare(b.ID, a.ID) })
	return found[:min(limit, len(found))], nil
}

// query returns the statement that reads the newest rows of a source, and its arguments.
func (from *source) query(c *conditions, limit int) (query string, args []any) {
	query = fmt.Sprintf(`SELECT %s FROM %s%s ORDER BY %s DESC LIMIT %d`,
		from.columns, from.from, c.where(), from.id, limit)
	return query, c.args
}

// eachSource bounds the filter and calls fn with each of its sources that may have
// something to pick.
func (s *Store) eachSource(
	ctx context.Context, tx *sql.Tx, f *adapter.Filter, fn func(*source, *conditions) error,
) error {
	if err := bound(ctx, tx, f); err != nil {
		return err
	}
	sources, err := s.sources(ctx, tx, f)
	if err != nil {
		return err
	}
	for i := range sources {
		c, err := s.conditions(ctx, tx, &sources[i], f)
		if errors.Is(err, errNothing) {
			continue
		}
		if err == nil {
			err = fn(&sources[i], c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) scanDelivery(rows *sql.Rows) (adapter.Delivery, error) {
	var d adapter.Delivery
	var connection, tenant, received int64
	var account, event, reason, detail sql.NullString
	var status, first, last, settled, due, run sql.NullInt64
	err := rows.Scan(&d.ID, &connection, &d.MessageID, &d.UserID, &account, &event, &d.EventKey, &d.Outcome,
		&reason, &detail, &status, &d.Attempts,
		&received, &first, &last, &settled, &due, &d.Ambiguous, &run, &tenant, &d.Repeats, &d.PayloadDropped, &d.Call)
	if err != nil {
		return d, err
	}
	if d.Connection, d.Tenant, err = s.names.both(connection, tenant); err != nil {
		return d, err
	}
	d.AccountID = d.UserID
	if account.Valid {
		d.AccountID = account.String
	}
	d.Event = event.String
	d.Reason, d.Detail, d.Status = mapping.Reason(reason.String), detail.String, int(status.Int64)
	d.ReceivedAt = time.UnixMilli(received).UTC()
	d.Run = run.Int64
	d.FirstAttemptAt, d.LastAttemptAt = timePointer(first), timePointer(last)
	d.SettledAt, d.DueAt = timePointer(settled), timePointer(due)
	return d, nil
}

func timePointer(ms sql.NullInt64) *time.Time {
	if !ms.Valid {
		return nil
	}
	t := time.UnixMilli(ms.Int64).UTC()
	return &t
}

// Get returns one delivery with its history and its payload; see [adapter.DeliveryStore].
func (s *Store) Get(ctx context.Context, id int64) (*adapter.Delivery, error) {
	delivery, err := readValue(ctx, s.read, func(tx *sql.Tx) (*adapter.Delivery, error) {
		found, err := s.find(ctx, tx, adapter.Filter{IDs: []int64{id}}, 1)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, adapter.ErrNoDelivery
		}
		delivery := &found[0]
		if delivery.History, err = history(ctx, tx, id); err != nil {
			return nil, err
		}
		payloads, err := payloadsOf(ctx, tx, []int64{id})
		delivery.Payload, delivery.PayloadDamaged = payloads[id].Bytes, payloads[id].Damaged
		return delivery, err
	})
	if err != nil {
		return nil, fmt.Errorf("get delivery %d: %w", id, err)
	}
	return delivery, nil
}

func history(ctx context.Context, tx *sql.Tx, id int64) (tries []adapter.Try, err error) {
	var try adapter.Try
	var began, duration int64
	var status sql.NullInt64
	var detail sql.NullString
	rows, err := tx.QueryContext(ctx, `SELECT number, began_at, duration_ms, status, reason, detail, coalesce(call, 0)
		FROM attempts WHERE delivery = $1 ORDER BY number`, id)
	err = eachRow(rows, err, func() {
		try.At, try.Duration = time.UnixMilli(began).UTC(), time.Duration(duration)*time.Millisecond
		try.Status, try.Detail = int(status.Int64), detail.String
		tries = append(tries, try)
	}, &try.Number, &began, &duration, &status, &try.Reason, &detail, &try.Call)
	return tries, err
}

// Payloads returns the payloads that are kept; see [adapter.DeliveryStore].
func (s *Store) Payloads(ctx context.Context, ids []int64) (map[int64]adapter.StoredPayload, error) {
	payloads, err := readValue(ctx, s.read, func(tx *sql.Tx) (map[int64]adapter.StoredPayload, error) {
		return payloadsOf(ctx, tx, ids)
	})
	return payloads, wrap("read payloads", err)
}

func payloadsOf(ctx context.Context, tx *sql.Tx, ids []int64) (map[int64]adapter.StoredPayload, error) {
	payloads := make(map[int64]adapter.StoredPayload, len(ids))
	if len(ids) == 0 {
		return payloads, nil
	}
	var id int64
	var payload []byte
	var sum sql.NullInt64
	for _, query := range []string{
		`SELECT id, payload, checksum FROM queue WHERE id IN `,
		`SELECT delivery, payload, checksum FROM payloads WHERE delivery IN `,
	} {
		rows, err := tx.QueryContext(ctx, query+numberList(ids))
		err = eachRow(rows, err, func() {
			payloads[id] = adapter.StoredPayload{Bytes: payload, Damaged: isDamaged(payload, id, sum)}
		}, &id, &payload, &sum)
		if err != nil {
			return nil, err
		}
	}
	return payloads, nil
}

// Summarize counts deliveries; see [adapter.DeliveryStore].
func (s *Store) Summarize(ctx context.Context, filter adapter.Filter) ([]adapter.Summary, error) {
	if filter.PicksAll() {
		return s.summarizeAll(ctx)
	}
	var counts map[adapter.Summary]int64
	err := s.search(ctx, &filter, func(tx *sql.Tx) error {
		counts = make(map[adapter.Summary]int64)
		return s.eachSource(ctx, tx, &filter, func(from *source, c *conditions) error {
			return s.count(ctx, tx, from, c, counts)
		})
	})
	if err != nil {
		return nil, fmt.Errorf("count deliveries: %w", err)
	}
	summaries := make([]adapter.Summary, 0, len(counts))
	for summary, events := range counts {
		summary.Events = events
		summaries = append(summaries, summary)
	}
	slices.SortFunc(summaries, func(a, b adapter.Summary) int {
		return cmp.Or(cmp.Compare(a.Connection, b.Connection), cmp.Compare(a.Tenant, b.Tenant),
			cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Reason, b.Reason))
	})
	return summaries, nil
}

// summarizeAll counts all deliveries of the store by the running totals.
func (s *Store) summarizeAll(ctx context.Context) ([]adapter.Summary, error) {
	byConnection, err := readByConnection(ctx, s, s.read, func(name string, b *balance) []adapter.Summary {
		return b.summaries(name)
	})
	return slices.Concat(byConnection...), wrap("count deliveries", err)
}

// summaries returns the numbers of the rows by outcome, as the totals have them.
func (b *balance) summaries(name string) (summaries []adapter.Summary) {
	for _, outcome := range adapter.Outcomes {
		if rows := b.totals[outcome] - b.removed[outcome]; rows != 0 {
			summaries = append(summaries, adapter.Summary{Connection: name, Outcome: outcome, Events: rows})
		}
	}
	return summaries
}

// count adds the events of a source to the counts of what they have in common.
func (s *Store) count(
	ctx context.Context, tx *sql.Tx, from *source, c *conditions, counts map[adapter.Summary]int64,
) error {
	outcome := "outcome"
	if !from.isLog {
		outcome = "6"
	}
	var summary adapter.Summary
	var connection, tenant, events int64
	rows, err := tx.QueryContext(ctx, fmt.Sprintf(`SELECT connection, tenant, o, r, count(*)
		FROM (SELECT connection, tenant, %s AS o, coalesce(%s, '') AS r FROM %s%s) AS picked
		GROUP BY connection, tenant, o, r`, outcome, from.reason, from.from, c.where()), c.args...)
	return eachRowUntil(rows, err, func() (err error) {
		if summary.Connection, summary.Tenant, err = s.names.both(connection, tenant); err == nil {
			counts[summary] += events
		}
		return err
	}, &connection, &tenant, &summary.Outcome, &summary.Reason, &events)
}
