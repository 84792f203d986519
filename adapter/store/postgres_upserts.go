package store

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// Parts of the token of a lease: which process has it, and which of its leases it is.
const (
	ownerBits = 40
	leaseBits = 23
)

// leaseOwner identifies an open store in the tokens of its leases. A program that knows no column holds has random
// tokens, which look like those of another process.
type leaseOwner struct {
	id    int64
	count atomic.Int64
}

func newLeaseOwner() *leaseOwner { return &leaseOwner{id: 1 + rand.Int64N(1<<ownerBits-1)} }

// token returns the token of the next lease.
func (o *leaseOwner) token() int64 { return o.id<<leaseBits | o.count.Add(1)&(1<<leaseBits-1) }

// has reports whether the token is of a lease of this process.
func (o *leaseOwner) has(token int64) bool { return token>>leaseBits == o.id }

// holder is an upsert that keeps back later events of its user.
type holder struct {
	id, due int64
	user    user
	// isLeased is set if a process has the upsert in hand, and isOurs if this process has.
	isLeased, isOurs bool
}

// holders returns the upserts that keep back later events of the users, by id. It finds an upsert by a hash of the
// userId, because an index cannot hold every userId. The statement is a list of hashes and no join; see steadySQL.
//
// The statement begins after the events are locked. So it sees each upsert that was pending before them, even if
// another process has locked it. A lease of a locked event is in the table, or is not made until this transaction
// ends.
func (l *leaseTransaction) holders(users []string, before int64) (map[user][]holder, error) {
	rows, err := l.tx.Query(l.ctx, `SELECT h.id, h.due_at, h.user_id, coalesce(h.account_id, h.user_id),
			coalesce((SELECT l.token FROM leases l WHERE l.id = h.id AND l.until > $5), 0)
		FROM queue h
		WHERE hashtextextended(h.user_id, 0) = ANY (ARRAY(SELECT hashtextextended(u, 0) FROM unnest($1::text[]) AS u))
			AND `+holdsText+` AND h.connection = $2 AND h.tenant = $3 AND h.id < $4`,
		users, l.queue.connection, l.queue.tenant, before, milliseconds(l.database))
	if err != nil {
		return nil, err
	}
	found := make(map[user][]holder)
	var h holder
	var token int64
	_, err = pgx.ForEachRow(rows, []any{&h.id, &h.due, &h.user.id, &h.user.account, &token}, func() error {
		h.isLeased, h.isOurs = token != 0, l.engine.owner.has(token)
		found[h.user] = append(found[h.user], h)
		return nil
	})
	for _, list := range found {
		slices.SortFunc(list, func(a, b holder) int { return cmp.Compare(a.id, b.id) })
	}
	return found, err
}

// keepBack splits locked events into those that are free to lease, and those that an upsert keeps back, which become
// due with it.
func (l *leaseTransaction) keepBack(events []due) (free, kept []due, err error) {
	users := make([]string, 0, len(events))
	before := int64(0)
	for i := range events {
		users, before = append(users, events[i].user.id), max(before, events[i].id)
	}
	slices.Sort(users)
	holders, err := l.holders(slices.Compact(users), before)
	if err != nil || len(holders) == 0 {
		return events, nil, err
	}
	taken, elsewhere := make(map[int64]bool), make(map[int64]bool)
	for _, list := range holders {
		for i := range list {
			elsewhere[list[i].id] = list[i].isLeased
		}
	}
	for _, event := range events {
		if h := keptBackBy(&event, holders[event.user], taken); h != nil {
			event.at = h.due
			kept = append(kept, event)
			continue
		}
		// Another process may have leased the event before it was locked. Then it is not taken.
		taken[event.id] = !elsewhere[event.id]
		free = append(free, event)
	}
	return free, kept, nil
}

// keptBackBy returns the first upsert that keeps back an event, nil if there is none. Taken are events that precede
// it in the lease.
func keptBackBy(event *due, holders []holder, taken map[int64]bool) *holder {
	if event.isAmbiguous {
		return nil
	}
	for i := range holders {
		h := &holders[i]
		if h.id >= event.id {
			return nil
		}
		if !h.isOurs && !taken[h.id] {
			return h
		}
	}
	return nil
}

// putOff makes locked events due at the times given, and no earlier than keepBackFor from now by the clock by which
// they are due; see dueSQL.
func (l *leaseTransaction) putOff(events []due) error {
	if len(events) == 0 {
		return nil
	}
	if err := l.write(); err != nil {
		return err
	}
	if err := l.endFormer(events); err != nil {
		return err
	}
	slices.SortFunc(events, func(a, b due) int { return cmp.Compare(a.id, b.id) })
	var ids, times []int64
	for i := range events {
		ids, times = append(ids, events[i].id), append(times, events[i].at)
	}
	_, err := l.tx.Exec(l.ctx, `UPDATE queue q SET due_at = greatest(($2::bigint[])[width_bucket(q.id, $1::bigint[])],
			CASE WHEN coalesce(`+untilSQL+`, 0) = 0 THEN $3::bigint ELSE $4 END)
		WHERE q.id = ANY ($1)`,
		ids, times, milliseconds(l.now.Add(keepBackFor)), milliseconds(l.database.Add(keepBackFor)))
	return err
}
