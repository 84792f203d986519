package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// eventIdentity tells an event from others of its tenant. An event without a body hash has no duplicates.
type eventIdentity struct {
	id        int64 // of a stored event, which is no duplicate of itself
	messageID string
	bodyHash  any
	former    []int64 // body hashes that earlier versions may have used for it
}

// hashes returns all body hashes by which another event is the same, none if no event can be.
func (i *eventIdentity) hashes() []int64 {
	if i.messageID == "" || i.bodyHash == nil {
		return nil
	}
	return append([]int64{i.bodyHash.(int64)}, i.former...)
}

// Known looks up events; see [adapter.RunStore]. Beside another process it finds the events that that process had
// accepted when this store was opened.
func (s *Store) Known(
	ctx context.Context, _, tenant string, arrivals []adapter.Arrival,
) ([]mapping.Reason, error) {
	id, ok := s.names.find(tenant)
	if !ok {
		return make([]mapping.Reason, len(arrivals)), nil
	}
	events := make([]eventIdentity, len(arrivals))
	for i := range arrivals {
		events[i] = eventIdentity{
			messageID: cut(arrivals[i].MessageID), bodyHash: bodyHash(&arrivals[i]),
			former: hashList(s.formerHash(&arrivals[i])),
		}
	}
	reasons, err := readValue(ctx, s.read, func(tx *sql.Tx) ([]mapping.Reason, error) {
		return s.engine.known(ctx, tx, id, events)
	})
	return reasons, s.explained("look up events", err)
}

func (e *sqliteEngine) known(
	ctx context.Context, tx *sql.Tx, tenant int64, events []eventIdentity,
) (_ []mapping.Reason, err error) {
	reasons := make([]mapping.Reason, len(events))
	lookUp, err := tx.PrepareContext(ctx,
		`SELECT hash, delivery FROM messages WHERE hash IN (`+repeat("?", manyHashes)+`)`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lookUp.Close()) }()
	at := 0
	for part := range slices.Chunk(events, manyHashes) {
		hashes := make([]any, manyHashes)
		for i := range part {
			hashes[i] = textHash(part[i].messageID)
		}
		onDisk, err := findMessages(ctx, lookUp, hashes)
		if err != nil {
			return nil, err
		}
		for i := range part {
			hash := textHash(part[i].messageID)
			candidates := append(e.messages.inMemory(hash), onDisk[hash]...)
			candidates = slices.DeleteFunc(candidates, func(id int64) bool { return id == part[i].id })
			if part[i].messageID == "" || part[i].bodyHash == nil || len(candidates) == 0 {
				continue
			}
			var isPending, isDelivered bool
			err := tx.QueryRowContext(ctx, sameEventSQL(candidates, part[i].former),
				tenant, part[i].bodyHash, part[i].messageID).Scan(&isPending, &isDelivered)
			if err != nil {
				return nil, err
			}
			if isPending || isDelivered {
				reasons[at+i] = duplicateReason(isPending)
			}
		}
		at += len(part)
	}
	return reasons, nil
}

func findMessages(ctx context.Context, lookUp *sql.Stmt, hashes []any) (map[int64][]int64, error) {
	found := make(map[int64][]int64)
	var hash, id int64
	rows, err := lookUp.QueryContext(ctx, hashes...)
	err = eachRow(rows, err, func() { found[hash] = append(found[hash], id) }, &hash, &id)
	return found, err
}

func (e *postgresEngine) known(
	ctx context.Context, tx *sql.Tx, tenant int64, events []eventIdentity,
) (_ []mapping.Reason, err error) {
	reasons := make([]mapping.Reason, len(events))
	var places, hashes []int64
	var messageIDs []string
	for i := range events {
		for _, hash := range events[i].hashes() {
			places, hashes = append(places, int64(i)), append(hashes, hash)
			messageIDs = append(messageIDs, events[i].messageID)
		}
	}
	if len(places) == 0 {
		return reasons, nil
	}
	var place int64
	var isPending bool
	rows, err := tx.QueryContext(ctx, `SELECT place, bool_or(is_pending) FROM (
			SELECT i.place,
				(SELECT true FROM queue q WHERE q.message_key = md5(i.message_id)::uuid
					AND q.tenant = $1 AND q.body_hash = i.body_hash LIMIT 1) IS NOT NULL AS is_pending,
				(SELECT true FROM deliveries d WHERE d.message_key = md5(i.message_id)::uuid
					AND d.tenant = $1 AND d.body_hash = i.body_hash AND d.outcome IN (1, 2) LIMIT 1) IS NOT NULL
					AS is_delivered
			FROM unnest($2::bigint[], $3::bigint[], $4::text[]) AS i (place, body_hash, message_id)) AS known
		WHERE is_pending OR is_delivered GROUP BY place`, tenant, places, hashes, messageIDs)
	err = eachRow(rows, err, func() { reasons[place] = duplicateReason(isPending) }, &place, &isPending)
	return reasons, err
}
