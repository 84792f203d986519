package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"segment-saasquatch/adapter"
)

// mergeIDs is the number of ids in one step of a merge or a count, so that no event waits for it.
const mergeIDs = 5000

// TenantEvents has the numbers of a tenant's deliveries.
type TenantEvents struct {
	Tenant  string `json:"tenant"`
	Pending int64  `json:"pending"`
	Settled int64  `json:"settled"`
}

// Namesakes returns the other tenants of the store with the alias of this one: the same tenant under another host, or
// a tenant of another SaaSquatch.
func (s *Store) Namesakes(tenant string) (others []string) {
	for _, id := range s.names.ofTenant(adapter.TenantAlias(tenant)) {
		// The alias may also be the name of a connection.
		name, err := s.names.name(id)
		if err == nil && name != tenant && adapter.TenantAlias(name) != name {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	return others
}

// EventsOf counts the deliveries of a tenant. It reads all rows, in small steps.
func (s *Store) EventsOf(ctx context.Context, tenant string) (TenantEvents, error) {
	events := TenantEvents{Tenant: tenant}
	id, ok := s.names.find(tenant)
	if !ok {
		return events, nil
	}
	for table, count := range map[string]*int64{"queue": &events.Pending, "deliveries": &events.Settled} {
		err := s.eachRange(ctx, table, func(after, to int64) error {
			return s.read(ctx, func(tx *sql.Tx) error {
				var n int64
				err := tx.QueryRowContext(ctx,
					`SELECT count(*) FROM `+table+` WHERE tenant = $1 AND id > $2 AND id <= $3`,
					id, after, to).Scan(&n)
				*count += n
				return err
			})
		})
		if err != nil {
			return events, s.explained("count the events of "+tenant, err)
		}
	}
	return events, nil
}

// MergeSettled moves the settled deliveries and the runs of a tenant to another one, whose ledger then knows them.
// Pending events stay with the tenant that they were accepted for. After an interruption, the next call goes on.
// Progress is called with the number of changed deliveries.
func (s *Store) MergeSettled(
	ctx context.Context, from, to string, progress func(merged int64),
) (merged int64, err error) {
	old, ok := s.names.find(from)
	if !ok {
		return 0, fmt.Errorf("the store has no tenant %s", from)
	}
	target, err := s.names.id(ctx, to)
	if err != nil {
		return 0, s.explained("register the tenant "+to, err)
	}
	err = s.eachRange(ctx, "deliveries", func(after, upTo int64) error {
		var n int64
		err := s.engine.write(ctx, func(tx *sql.Tx) (err error) {
			n, err = affectedRows(tx.ExecContext(ctx,
				`UPDATE deliveries SET tenant = $1 WHERE tenant = $2 AND id > $3 AND id <= $4`,
				target, old, after, upTo))
			return err
		})
		if merged += n; err == nil && n > 0 {
			progress(merged)
			err = adapter.Wait(ctx, retainRest) // events go first
		}
		return err
	})
	if err == nil {
		err = s.engine.write(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE runs SET tenant = $1 WHERE tenant = $2`, target, old)
			return err
		})
	}
	if err != nil {
		return merged, s.explained("merge "+from+" into "+to, err)
	}
	return merged, nil
}

// eachRange calls f with ranges of ids that together have all rows of the table.
func (s *Store) eachRange(ctx context.Context, table string, f func(after, to int64) error) error {
	for after := int64(-1); ; {
		var next sql.NullInt64
		err := s.read(ctx, func(tx *sql.Tx) error {
			// Ids can lie far apart.
			return tx.QueryRowContext(ctx, `SELECT min(id) FROM `+table+` WHERE id > $1`, after).Scan(&next)
		})
		if err != nil || !next.Valid {
			return err
		}
		to := next.Int64 + mergeIDs - 1
		if err := f(after, to); err != nil {
			return err
		}
		after = to
	}
}
