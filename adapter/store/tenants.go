package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"segment-saasquatch/adapter"
)

// heldReason says why pending events of the connection that were accepted for the
// tenant are not sent, empty if they are.
func (s *Store) heldReason(connection, tenant string) adapter.Reason {
	if s.tenants == nil {
		return ""
	}
	present, isConfigured := s.tenants[connection]
	switch {
	case !isConfigured:
		return adapter.ReasonConnectionRemoved
	case present != "" && present != tenant:
		return adapter.ReasonTenantChanged
	}
	return ""
}

// byTenant returns an SQL expression of a row: own where its connection has its
// tenant or has none that is known, changed where the connection has another one, and
// removed where the connection is not configured.
func (s *Store) byTenant(own, changed, removed string) string {
	if s.tenants == nil {
		return own
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.tenants)) {
		connection, ok := s.names.find(name)
		if !ok {
			continue // it has no events
		}
		if s.tenants[name] == "" {
			fmt.Fprintf(&b, " WHEN %d THEN %s", connection, own)
			continue
		}
		tenant, _ := s.names.find(s.tenants[name]) // 0 is the number of none
		fmt.Fprintf(&b, " WHEN %d THEN CASE WHEN tenant = %d THEN %s ELSE %s END", connection, tenant, own, changed)
	}
	if b.Len() == 0 {
		return removed
	}
	return "CASE connection" + b.String() + " ELSE " + removed + " END"
}

// pendingReason is the expression of a pending event's reason.
func (s *Store) pendingReason() string {
	return s.byTenant(`coalesce(reason, '`+string(adapter.ReasonAccepted)+`')`,
		`'`+string(adapter.ReasonTenantChanged)+`'`, `'`+string(adapter.ReasonConnectionRemoved)+`'`)
}

// checkRun refuses work on a run whose connection has another tenant by now: its
// events would not be sent, and the ledger of the present tenant does not know them.
func (s *Store) checkRun(ctx context.Context, run int64, q *Queue) error {
	connection, err := s.names.name(ctx, q.connection)
	if err != nil {
		return err
	}
	tenant, err := s.names.name(ctx, q.tenant)
	if err != nil {
		return err
	}
	if s.heldReason(connection, tenant) != adapter.ReasonTenantChanged {
		return nil
	}
	return &adapter.RefusedError{Problem: fmt.Sprintf(
		"run %d sends to the tenant %s, but its connection %s has the tenant %s now: "+
			"begin a new replay for that one, or configure the former tenant again",
		run, tenant, connection, s.tenants[connection])}
}

// pendingTenants returns the tenants that have pending events, by connection. It
// skips from one to the next in the index.
func pendingTenants(ctx context.Context, tx *sql.Tx) (map[int64][]int64, error) {
	tenants := make(map[int64][]int64)
	var connection, tenant int64
	for {
		err := tx.QueryRowContext(ctx, `SELECT connection, tenant FROM queue WHERE (connection, tenant) > ($1, $2)
			ORDER BY connection, tenant LIMIT 1`, connection, tenant).Scan(&connection, &tenant)
		if errors.Is(err, sql.ErrNoRows) {
			return tenants, nil
		}
		if err != nil {
			return nil, err
		}
		tenants[connection] = append(tenants[connection], tenant)
	}
}

// describeBacklog adds to the backlog of a connection what the totals do not tell.
func (s *Store) describeBacklog(
	ctx context.Context, tx *sql.Tx, connection int64, tenants []int64, backlog *adapter.Backlog,
) error {
	for _, tenant := range tenants {
		name, err := s.names.name(ctx, tenant)
		if err != nil {
			return err
		}
		reason := s.heldReason(backlog.Connection, name)
		if reason == "" {
			first, err := oldest(ctx, tx, connection, tenant)
			if err != nil {
				return err
			}
			if backlog.Oldest.IsZero() || !first.IsZero() && first.Before(backlog.Oldest) {
				backlog.Oldest = first
			}
			continue
		}
		held := adapter.Held{Tenant: name, Reason: reason}
		const count = `SELECT count(*) FROM queue WHERE connection = $1 AND tenant = $2`
		if err := tx.QueryRowContext(ctx, count, connection, tenant).Scan(&held.Events); err != nil {
			return err
		}
		backlog.Held = append(backlog.Held, held)
	}
	slices.SortFunc(backlog.Held, func(a, b adapter.Held) int { return strings.Compare(a.Tenant, b.Tenant) })
	return nil
}
