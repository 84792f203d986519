package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

const (
	// userRows is the number of a user's latest settled events that are searched.
	userRows = 10_000
	// pendingRows is the number of the latest pending events that are searched: the queue has no index by user.
	pendingRows = 20_000
)

// identifyUser is a user whose identify calls are searched.
type identifyUser struct {
	query     int
	hash      any // of the whole userId, nil if that is empty
	userID    string
	accountID any // nil if it is the userID
	since     int64
}

// identifyRow is an identify call in a table.
type identifyRow struct {
	query     int
	messageID string
	received  int64
	run       sql.NullInt64
	payload   []byte // nil if it is not kept
	id        int64
	checksum  sql.NullInt64
}

// fields are the columns that each query of identify calls ends with.
func (r *identifyRow) fields() []any {
	return []any{&r.messageID, &r.received, &r.run, &r.payload, &r.id, &r.checksum}
}

// known returns the identify call of the row, and whether it is newer.
func (r *identifyRow) known(since int64) (adapter.KnownIdentify, bool) {
	known := adapter.KnownIdentify{Query: r.query, MessageID: r.messageID, At: r.received}
	at, timed := mapping.TimeOf(r.payload)
	switch {
	case timed && !isDamaged(r.payload, r.id, r.checksum):
		known.At, known.Own = at, true
	case r.run.Valid:
		return known, false // received long after the call was made
	}
	return known, known.At > since
}

// Identifies looks for newer identify calls; see [adapter.RunStore]. It searches the last 10 000 settled events of a
// user, and the last 20 000 pending events of the whole store.
func (s *Store) Identifies(
	ctx context.Context, _, tenant string, queries []adapter.IdentifyQuery,
) (found []adapter.KnownIdentify, err error) {
	if len(queries) > adapter.MaxIdentifyQueries {
		return nil, fmt.Errorf("look for newer profiles: %d queries, more than %d",
			len(queries), adapter.MaxIdentifyQueries)
	}
	id, ok := s.names.find(tenant)
	if !ok || len(queries) == 0 {
		return nil, nil
	}
	ofUser := make(map[string][]int, len(queries))
	users := make([]identifyUser, len(queries))
	for i := range queries {
		q := &queries[i]
		users[i] = identifyUser{
			query: i, hash: userHash(q.UserID), userID: cut(q.UserID),
			accountID: accountOf(cut(q.AccountID), cut(q.UserID)), since: q.Since,
		}
		ofUser[clean(q.UserID)] = append(ofUser[clean(q.UserID)], i)
	}
	counts := make([]int, len(queries))
	yield := func(row *identifyRow) error {
		known, newer := row.known(queries[row.query].Since)
		if newer && counts[row.query] < adapter.MaxIdentifies {
			counts[row.query]++
			found = append(found, known)
		}
		return nil
	}
	err = s.read(ctx, func(tx *sql.Tx) error {
		if err := s.engine.deliveredIdentifies(ctx, tx, id, users, yield); err != nil {
			return err
		}
		return pendingIdentifies(ctx, tx, id, queries, ofUser, yield)
	})
	if err != nil {
		return nil, s.explained("look for newer profiles", err)
	}
	return found, nil
}

// pendingIdentifies calls yield with pending identify calls of the users.
func pendingIdentifies(
	ctx context.Context, tx *sql.Tx, tenant int64, queries []adapter.IdentifyQuery, ofUser map[string][]int,
	yield func(*identifyRow) error,
) error {
	args := []any{tenant, adapter.UpsertEventKey}
	var places []string
	for user := range ofUser {
		args = append(args, user)
		places = append(places, "$"+strconv.Itoa(len(args)))
	}
	var row identifyRow
	var userID string
	var accountID sql.NullString
	// The inner query leaves out the payload, which few rows are asked for.
	rows, err := tx.QueryContext(ctx, `SELECT q.user_id, q.account_id, q.message_id, q.received_at, q.run, q.payload,
			q.id, q.checksum
		FROM (
			SELECT id, tenant, user_id, event_key FROM queue ORDER BY id DESC LIMIT `+strconv.Itoa(pendingRows)+`
		) AS last
		JOIN queue q ON q.id = last.id
		WHERE last.tenant = $1 AND last.event_key = $2 AND last.user_id IN (`+strings.Join(places, ", ")+`)`, args...)
	return eachRowUntil(rows, err, func() error {
		for _, i := range ofUser[userID] {
			asked := accountOf(clean(queries[i].AccountID), userID)
			if accountID.Valid != (asked != nil) || accountID.Valid && accountID.String != asked {
				continue
			}
			row.query = i
			if err := yield(&row); err != nil {
				return err
			}
		}
		return nil
	}, append([]any{&userID, &accountID}, row.fields()...)...)
}

func (e *sqliteEngine) deliveredIdentifies(
	ctx context.Context, tx *sql.Tx, tenant int64, users []identifyUser, yield func(*identifyRow) error,
) (err error) {
	lookUp, err := tx.PrepareContext(ctx, `SELECT d.message_id, d.received_at, d.run, p.payload, d.id, p.checksum
		FROM (
			SELECT id, tenant, outcome, user_id, account_id, event_key, message_id, received_at, run FROM deliveries
			WHERE user_hash = $1 ORDER BY id DESC LIMIT `+strconv.Itoa(userRows)+`) AS d
		LEFT JOIN payloads p ON p.delivery = d.id
		WHERE d.tenant = $2 AND d.outcome = `+deliveredText+` AND d.event_key = $3 AND d.user_id = $4
			AND d.account_id IS $5 AND d.received_at > $6
		ORDER BY d.received_at DESC LIMIT `+strconv.Itoa(adapter.MaxIdentifies))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lookUp.Close()) }()
	for i := range users {
		of := &users[i]
		row := identifyRow{query: of.query}
		rows, err := lookUp.QueryContext(ctx,
			of.hash, tenant, adapter.UpsertEventKey, of.userID, of.accountID, of.since)
		err = eachRowUntil(rows, err, func() error { return yield(&row) }, row.fields()...)
		if err != nil {
			return err
		}
	}
	return nil
}

var deliveredText = strconv.Itoa(int(adapter.Delivered))

func (e *postgresEngine) deliveredIdentifies(
	ctx context.Context, tx *sql.Tx, tenant int64, users []identifyUser, yield func(*identifyRow) error,
) (err error) {
	var queries, hashes, since []int64
	var userIDs, accountIDs []string
	for i := range users {
		hash, ok := users[i].hash.(int64)
		if !ok {
			continue
		}
		queries, hashes = append(queries, int64(users[i].query)), append(hashes, hash)
		since = append(since, users[i].since)
		account, _ := users[i].accountID.(string) // an accountId is never empty
		userIDs, accountIDs = append(userIDs, users[i].userID), append(accountIDs, account)
	}
	var row identifyRow
	// Not in the order of ids: for a user with few rows, the planner would scan the whole table backwards.
	rows, err := tx.QueryContext(ctx, `SELECT i.query, d.message_id, d.received_at, d.run, p.payload, d.id, p.checksum
		FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[])
			AS i (query, user_hash, user_id, account_id, since)
		CROSS JOIN LATERAL (
			SELECT id, message_id, received_at, run FROM deliveries d
			WHERE d.user_hash = i.user_hash AND d.tenant = $1 AND d.outcome = `+deliveredText+`
				AND d.event_key = $7 AND d.user_id = i.user_id
				AND d.account_id IS NOT DISTINCT FROM NULLIF(i.account_id, '') AND d.received_at > i.since
			ORDER BY d.received_at DESC LIMIT `+strconv.Itoa(adapter.MaxIdentifies)+`) AS d
		LEFT JOIN payloads p ON p.delivery = d.id`,
		tenant, queries, hashes, userIDs, accountIDs, since, adapter.UpsertEventKey)
	return eachRowUntil(rows, err, func() error { return yield(&row) }, append([]any{&row.query}, row.fields()...)...)
}
