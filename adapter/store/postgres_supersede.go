package store

import (
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"segment-saasquatch/adapter"
)

// overdueUpsert is an upsert that is superseded once one of the newer upserts of its user is settled as delivered.
type overdueUpsert struct {
	id    int64
	newer []int64
}

// upsertsOf identifies the upserts of a user.
type upsertsOf struct {
	connection, tenant int64
	user               user
}

// almostOverdueText is the condition for an upsert that may become overdue in the same transaction.
var almostOverdueText = `holds >= ` + strconv.Itoa(adapter.MaxHoldingTries-1)

// overdue returns the upserts that the recordings may supersede.
func (t *postgresTransaction) overdue(recordings []*recording) (overdue []overdueUpsert, err error) {
	newer := make(map[upsertsOf][]int64)
	var users []string
	last := int64(0)
	for _, r := range recordings {
		if !r.supersedes() {
			continue
		}
		of := upsertsOf{r.queue.connection, r.queue.tenant, user{r.leased.UserID, r.leased.AccountID}}
		newer[of] = append(newer[of], r.leased.ID)
		users, last = append(users, of.user.id), max(last, r.leased.ID)
	}
	if len(users) == 0 {
		return nil, nil
	}
	slices.Sort(users)
	rows, err := t.tx.Query(t.ctx, `SELECT id, connection, tenant, user_id, coalesce(account_id, user_id) FROM queue
		WHERE hashtextextended(user_id, 0) = ANY (ARRAY(SELECT hashtextextended(u, 0) FROM unnest($1::text[]) AS u))
			AND `+almostOverdueText+` AND id < $2`, slices.Compact(users), last)
	if err != nil {
		return nil, err
	}
	var id int64
	var of upsertsOf
	fields := []any{&id, &of.connection, &of.tenant, &of.user.id, &of.user.account}
	_, err = pgx.ForEachRow(rows, fields, func() error {
		if list := newer[of]; len(list) > 0 && list[len(list)-1] > id {
			overdue = append(overdue, overdueUpsert{id, list})
		}
		return nil
	})
	return overdue, err
}

// supersede marks upserts that are overdue if a newer one is among the settled events.
func (t *postgresTransaction) supersede(overdue []overdueUpsert, settled map[int64]struct{}) error {
	var ids []int64
	for _, o := range overdue {
		if slices.ContainsFunc(o.newer, func(id int64) bool {
			_, ok := settled[id]
			return ok && id > o.id
		}) {
			ids = append(ids, o.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	_, err := t.tx.Exec(t.ctx, `UPDATE queue SET holds = $2 WHERE id = ANY ($1) AND `+overdueText, ids, superseded)
	return err
}
