package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// heldReason returns the reason why pending events of the connection for the tenant are not sent, empty if they are
// sent.
func (s *Store) heldReason(connection, tenant string) mapping.Reason {
	if s.tenants == nil {
		return ""
	}
	present, isConfigured := s.tenants[connection]
	switch {
	case !isConfigured:
		return mapping.ReasonConnectionRemoved
	case present != "" && present != tenant:
		return mapping.ReasonTenantChanged
	}
	return ""
}

// byTenant returns an SQL expression for a row: own if its connection has its tenant or an unknown one, changed if
// the connection has another tenant, and removed if the connection is not configured.
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
		tenant, _ := s.names.find(s.tenants[name]) // 0 if there is none
		fmt.Fprintf(&b, " WHEN %d THEN CASE WHEN tenant = %d THEN %s ELSE %s END", connection, tenant, own, changed)
	}
	if b.Len() == 0 {
		return removed
	}
	return "CASE connection" + b.String() + " ELSE " + removed + " END"
}

// pendingReason is the expression for a pending event's reason.
func (s *Store) pendingReason() string {
	return s.byTenant(`coalesce(reason, '`+string(mapping.ReasonAccepted)+`')`,
		`'`+string(mapping.ReasonTenantChanged)+`'`, `'`+string(mapping.ReasonConnectionRemoved)+`'`)
}

// checkRun refuses work on a run whose connection has another tenant now: its events would not be sent, and the
// ledger of the present tenant does not know them.
func (s *Store) checkRun(ctx context.Context, run int64, q *Queue) error {
	var connection, tenant string
	err := s.names.resolve(ctx, func() (err error) {
		connection, tenant, err = s.names.both(q.connection, q.tenant)
		return err
	})
	if err != nil {
		return err
	}
	if s.heldReason(connection, tenant) != mapping.ReasonTenantChanged {
		return nil
	}
	return &adapter.RefusedError{Problem: fmt.Sprintf(
		"run %d sends to the tenant %s, but its connection %s has the tenant %s now: "+
			"begin a new replay for that one, or configure the former tenant again",
		run, tenant, connection, s.tenants[connection])}
}

// queueHead is the oldest pending event of a tenant of a connection.
type queueHead struct {
	tenant   int64
	received time.Time
}

// queueHeads returns the oldest pending events by connection, one for each tenant. It skips from one tenant to the
// next in an index, so the size of a backlog makes no difference. No other index has the order of the query, so no
// statistics lead PostgreSQL to another one. It asks for the next number, since SQLite searches beyond a pair by
// reading all rows of the pair.
func (s *Store) queueHeads(ctx context.Context, tx *sql.Tx) (map[int64][]queueHead, error) {
	heads := make(map[int64][]queueHead)
	var connection, tenant, received int64
	for {
		err := tx.QueryRowContext(ctx, `SELECT connection, tenant, received_at FROM queue
			WHERE (connection, tenant) >= ($1, $2) ORDER BY connection, tenant, `+s.engine.idOrder()+` LIMIT 1`,
			connection, tenant+1).
			Scan(&connection, &tenant, &received)
		if errors.Is(err, sql.ErrNoRows) {
			return heads, nil
		}
		if err != nil {
			return nil, err
		}
		heads[connection] = append(heads[connection], queueHead{tenant, time.UnixMilli(received).UTC()})
	}
}

// describeBacklog adds to the backlog of a connection what the totals do not have.
func (s *Store) describeBacklog(
	ctx context.Context, tx *sql.Tx, connection int64, heads []queueHead, backlog *adapter.Backlog,
) error {
	for _, head := range heads {
		name, err := s.names.name(head.tenant)
		if err != nil {
			return err
		}
		reason := s.heldReason(backlog.Connection, name)
		if reason == "" {
			if backlog.Oldest.IsZero() || head.received.Before(backlog.Oldest) {
				backlog.Oldest = head.received
			}
			continue
		}
		held := adapter.Held{Tenant: name, Reason: reason, Events: backlog.Events}
		if len(heads) > 1 {
			if held.Events, err = s.heldCounts.count(ctx, tx, connection, head.tenant); err != nil {
				return err
			}
		}
		backlog.Held = append(backlog.Held, held)
	}
	slices.SortFunc(backlog.Held, func(a, b adapter.Held) int { return strings.Compare(a.Tenant, b.Tenant) })
	return nil
}

// heldCounts caches large numbers of held events. Only operators' work changes them.
type heldCounts struct {
	mu       sync.Mutex
	byTenant map[[2]int64]heldCount // by connection and tenant
}

type heldCount struct {
	events  int64
	expires time.Time
}

const (
	// manyHeld is the smallest number that is cached.
	manyHeld = 10_000
	// countRest times the duration of a count is how long it is cached: counting takes a hundredth of the time.
	countRest = 100
)

// count returns the number of pending events of the tenant.
func (h *heldCounts) count(ctx context.Context, tx *sql.Tx, connection, tenant int64) (events int64, err error) {
	key, began := [2]int64{connection, tenant}, time.Now()
	h.mu.Lock()
	known, ok := h.byTenant[key]
	h.mu.Unlock()
	if ok && began.Before(known.expires) {
		return known.events, nil
	}
	const query = `SELECT count(*) FROM queue WHERE connection = $1 AND tenant = $2`
	err = tx.QueryRowContext(ctx, query, connection, tenant).Scan(&events)
	if err == nil && events >= manyHeld {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.byTenant[key] = heldCount{events, began.Add(countRest * time.Since(began))}
	}
	return events, err
}
