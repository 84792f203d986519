package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"segment-saasquatch/adapter"
)

// applyTimeout bounds a transaction, so that a server that hangs is noticed.
const applyTimeout = 30 * time.Second

// apply makes the changes in one transaction, with a fixed number of statements for any number of changes.
func (e *postgresEngine) apply(changes []change) (done applied, err error) {
	shard := <-e.shards
	defer func() { e.shards <- shard }()
	err = retry(context.Background(), func() (err error) {
		done, err = e.applyOnce(changes, shard)
		return err
	})
	if err != nil {
		return applied{}, err
	}
	for _, c := range changes {
		if a, ok := c.(*acceptance); ok {
			a.markDuplicates()
		}
	}
	return done, nil
}

func (e *postgresEngine) applyOnce(changes []change, shard int64) (applied, error) {
	ctx, cancel := context.WithTimeout(context.Background(), applyTimeout)
	defer cancel()
	t := postgresTransaction{engine: e, ctx: ctx, sums: make(sums), runs: make(runSums)}
	err := e.transact(ctx, markedOptions, func(tx pgx.Tx, _ commitMark) error {
		t.tx = tx
		if err := t.apply(changes, shard); err != nil {
			return err
		}
		return stillWanted(changes)
	})
	if err != nil {
		return applied{}, err
	}
	return t.letters.applied(), nil
}

type postgresTransaction struct {
	engine *postgresEngine
	tx     pgx.Tx
	ctx    context.Context
	sums   sums
	runs   runSums
	// letters are nil until there is one.
	letters *deadLetters
}

func (t *postgresTransaction) apply(changes []change, shard int64) error {
	var acceptances []*acceptance
	var steps recordings
	var marks []*marking
	var releases []*release
	for _, c := range changes {
		switch c := c.(type) {
		case *acceptance:
			acceptances = append(acceptances, c)
		case recordings:
			steps = append(steps, c...)
		case *marking:
			marks = append(marks, c)
		case *release:
			releases = append(releases, c)
		}
	}
	if err := t.accept(acceptances); err != nil {
		return err
	}
	if err := t.record(steps); err != nil {
		return err
	}
	if err := t.mark(marks); err != nil {
		return err
	}
	if err := t.release(releases); err != nil {
		return err
	}
	if err := t.addTotals(shard); err != nil {
		return err
	}
	return t.addRunOutcomes(shard)
}

// ids returns the ids that a statement returns.
func (t *postgresTransaction) ids(query string, args ...any) (map[int64]struct{}, error) {
	rows, err := t.tx.Query(t.ctx, query, args...)
	if err != nil {
		return nil, err
	}
	found := make(map[int64]struct{})
	var id int64
	_, err = pgx.ForEachRow(rows, []any{&id}, func() error {
		found[id] = struct{}{}
		return nil
	})
	return found, err
}

// incoming has arrivals as a slice for each column.
type incoming struct {
	ids, connections, tenants, times []int64
	outcomes                         []int16
	bodyHashes, userHashes           []*int64
	messageIDs, users, events        []string
	accounts, reasons, details       []*string
	payloads                         [][]byte
	checksums                        []int64
	dues                             []int64
	runs, leases                     []*int64
	names, former, holds             []*int64
	of                               []arrivalOf
}

// arrivalOf is an arrival of an acceptance.
type arrivalOf struct {
	acceptance *acceptance
	index      int
}

func (in *incoming) add(of arrivalOf, id int64) {
	a := &of.acceptance.arrivals[of.index]
	q := of.acceptance.queue
	in.of = append(in.of, of)
	in.ids = append(in.ids, id)
	in.connections = append(in.connections, q.connection)
	in.tenants = append(in.tenants, q.tenant)
	in.times = append(in.times, milliseconds(of.acceptance.at))
	in.outcomes = append(in.outcomes, int16(a.Outcome))
	in.bodyHashes = append(in.bodyHashes, asPointer[int64](bodyHash(a)))
	in.messageIDs = append(in.messageIDs, cut(a.MessageID))
	in.userHashes = append(in.userHashes, asPointer[int64](userHash(a.UserID)))
	in.users = append(in.users, clean(a.UserID))
	in.accounts = append(in.accounts, asPointer[string](accountOf(clean(a.AccountID), clean(a.UserID))))
	in.events = append(in.events, cut(a.EventKey))
	in.reasons = append(in.reasons, asPointer[string](orNull(string(a.Reason))))
	in.details = append(in.details, asPointer[string](orNull(cut(a.Detail))))
	payload := a.Payload
	if payload == nil {
		payload = []byte{}
	}
	in.payloads = append(in.payloads, payload)
	in.checksums = append(in.checksums, checksum(payload, id))
	in.dues = append(in.dues, of.acceptance.due())
	in.runs = append(in.runs, asPointer[int64](orNull(of.acceptance.runID())))
	in.leases = append(in.leases, asPointer[int64](of.acceptance.lease()))
	in.names = append(in.names, asPointer[int64](orNull(of.acceptance.events[of.index])))
	in.former = append(in.former, asPointer[int64](q.store.formerHash(a)))
	in.holds = append(in.holds, asPointer[int64](of.acceptance.holds(a)))
}

// asPointer returns nil for nil.
func asPointer[T any](value any) *T {
	if value == nil {
		return nil
	}
	typed := value.(T)
	return &typed
}

// accept stores new events.
func (t *postgresTransaction) accept(acceptances []*acceptance) error {
	n := 0
	for _, a := range acceptances {
		if err := t.advance(a); err != nil {
			return err
		}
		a.duplicates = a.duplicates[:0]
		n += len(a.arrivals)
	}
	if n == 0 {
		return nil
	}
	rows, err := t.tx.Query(t.ctx, `SELECT nextval('delivery_ids') FROM generate_series(1, $1)`, n)
	if err != nil {
		return fmt.Errorf("allocate ids: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("allocate ids: %w", err)
	}
	slices.Sort(ids)
	var toQueue, toLog incoming
	rejected := make(rejections)
	for _, a := range acceptances {
		for i := range a.arrivals {
			switch outcome := a.arrivals[i].Outcome; {
			case outcome == adapter.Pending:
				toQueue.add(arrivalOf{a, i}, ids[0])
			case outcome == adapter.Rejected && a.run != nil:
				rejected.add(arrivalOf{a, i}, ids[0])
			default:
				toLog.add(arrivalOf{a, i}, ids[0])
			}
			ids = ids[1:]
		}
	}
	if err := t.reject(rejected, &toLog); err != nil {
		return fmt.Errorf("look for dead letters: %w", err)
	}
	stored, err := t.enqueue(&toQueue)
	if err != nil {
		return fmt.Errorf("store events: %w", err)
	}
	var duplicates incoming
	for i, id := range toQueue.ids {
		of := toQueue.of[i]
		if _, ok := stored[id]; ok {
			a := of.acceptance
			t.sums.add(a.queue.connection, accepted, 1, 0)
			t.sums.add(a.queue.connection, adapter.Pending, 1, int64(len(a.arrivals[of.index].Payload)))
			t.runs.add(a.runID(), adapter.Pending, "", 1)
			continue
		}
		duplicates.add(of, id)
	}
	if err := t.explainDuplicates(&duplicates); err != nil {
		return fmt.Errorf("look for duplicates: %w", err)
	}
	if err := t.log(&toLog); err != nil {
		return fmt.Errorf("store events: %w", err)
	}
	return t.log(duplicates.live())
}

// enqueue inserts the events into the queue that are neither pending nor delivered, and returns their ids.
//
// It looks for deliveries of the events after it has inserted them, because another process may be settling the same
// event. While that transaction is not committed, the first statement sees the event in the queue and waits for its
// row in the unique index. Once the other transaction commits, the row is gone and the event is inserted. The second
// statement sees everything that was committed by then. So it finds the event in the log, and deletes it from the
// queue.
//
// It also looks before if duplicates are likely, since inserting and deleting an event costs more than a look-up.
func (t *postgresTransaction) enqueue(in *incoming) (map[int64]struct{}, error) {
	if len(in.ids) == 0 {
		return nil, nil
	}
	payloads, firsts, sizes := joined(in.payloads)
	looked := t.engine.repeats.Load() || in.mayRepeat()
	stored, err := t.ids(`INSERT INTO queue (id, connection, tenant, due_at, received_at, body_hash, message_id,
			user_id,
			account_id, event_key, payload, run, lease, event, checksum, holds)
		SELECT i.id, i.connection, i.tenant, i.due, i.at, i.body_hash, i.message_id, i.user_id,
			i.account_id, i.event_key, substr($10::bytea, i.first, i.size), i.run, i.lease, i.event, i.checksum,
			i.holds
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
				$8::text[], $9::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::integer[], $15::bigint[],
				$16::integer[], $17::integer[], $19::integer[], $20::integer[])
			AS i (id, connection, tenant, at, body_hash, message_id, user_id, account_id, event_key,
				due, run, lease, event, former, checksum, holds, first, size)
		WHERE (NOT $18 OR i.body_hash IS NULL OR (
				SELECT true FROM deliveries d WHERE d.message_key = md5(i.message_id)::uuid AND d.tenant = i.tenant
					AND d.body_hash IN (i.body_hash, i.former) AND d.outcome IN (1, 2) LIMIT 1) IS NULL)
			AND (NOT $18 OR i.former IS NULL OR (
				SELECT true FROM queue q WHERE q.message_key = md5(i.message_id)::uuid AND q.tenant = i.tenant
					AND q.body_hash = i.former LIMIT 1) IS NULL)
		ORDER BY i.id
		ON CONFLICT (tenant, message_key, body_hash) WHERE message_key IS NOT NULL AND body_hash IS NOT NULL DO NOTHING
		RETURNING id`,
		in.ids, in.connections, in.tenants, in.times, in.bodyHashes, in.messageIDs, in.users, in.accounts,
		in.events, payloads, in.dues, in.runs, in.leases, in.names, in.former, in.checksums, in.holds, looked,
		firsts, sizes)
	if err != nil {
		return nil, err
	}
	delivered, err := t.ids(`DELETE FROM queue q WHERE q.id = ANY ($1) AND q.body_hash IS NOT NULL AND (
			SELECT true FROM deliveries d WHERE d.message_key = q.message_key AND d.tenant = q.tenant
				AND d.body_hash = q.body_hash AND d.outcome IN (1, 2) LIMIT 1)
		RETURNING q.id`, in.ids)
	for id := range delivered {
		delete(stored, id)
	}
	// A sender that repeats events repeats many.
	t.engine.repeats.Store(repeatShare*(len(in.ids)-len(stored)) > len(in.ids))
	return stored, err
}

// joined returns the payloads as one value, with the place of the first byte of each, from one, and its size. The
// encoding of an array would grow a buffer again and again.
func joined(payloads [][]byte) (all []byte, firsts, sizes []int32) {
	size := 0
	for _, payload := range payloads {
		size += len(payload)
	}
	all = make([]byte, 0, size)
	firsts, sizes = make([]int32, len(payloads)), make([]int32, len(payloads))
	for i, payload := range payloads {
		firsts[i], sizes[i] = int32(len(all)+1), int32(len(payload))
		all = append(all, payload...)
	}
	return all, firsts, sizes
}

// repeatShare is the share of duplicates from which on accepting looks for deliveries first, as one in so many events.
const repeatShare = 10

// mayRepeat reports whether a look-up before the insertion is needed for events of earlier versions, or worthwhile for
// a replay, which may bring what was delivered.
func (in *incoming) mayRepeat() bool {
	for i, of := range in.of {
		if of.acceptance.run != nil || in.former[i] != nil {
			return true
		}
	}
	return false
}

// explainDuplicates finds the reason why events were not stored, and turns them into duplicates for the log.
func (t *postgresTransaction) explainDuplicates(in *incoming) error {
	if len(in.ids) == 0 {
		return nil
	}
	pending, err := t.ids(`SELECT i.id
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[])
			AS i (id, tenant, body_hash, former, message_id)
		WHERE (SELECT true FROM queue q WHERE q.message_key = md5(i.message_id)::uuid AND q.tenant = i.tenant
			AND q.body_hash IN (i.body_hash, i.former) LIMIT 1)`,
		in.ids, in.tenants, in.bodyHashes, in.former, in.messageIDs)
	if err != nil {
		return err
	}
	for i, id := range in.ids {
		_, isPending := pending[id]
		reason := duplicateReason(isPending)
		of := in.of[i]
		of.acceptance.duplicates = append(of.acceptance.duplicates, duplicate{of.index, reason})
		t.runs.add(of.acceptance.runID(), adapter.Duplicate, reason, 1)
		in.outcomes[i] = int16(adapter.Duplicate)
		in.bodyHashes[i] = nil
		text := string(reason)
		in.reasons[i], in.details[i] = &text, nil
	}
	return nil
}

// log inserts events that are already settled into the log.
func (t *postgresTransaction) log(in *incoming) error {
	if len(in.ids) == 0 {
		return nil
	}
	var kept incoming
	var keepUntil []*int64
	for i, id := range in.ids {
		of := in.of[i]
		outcome := adapter.Outcome(in.outcomes[i])
		in.users[i] = cut(in.users[i])
		if in.accounts[i] != nil {
			account := cut(*in.accounts[i])
			in.accounts[i] = &account
		}
		t.sums.add(of.acceptance.queue.connection, accepted, 1, 0)
		t.sums.add(of.acceptance.queue.connection, outcome, 1, 0)
		if outcome != adapter.Duplicate { // explainDuplicates has counted those
			t.runs.add(of.acceptance.runID(), outcome, of.acceptance.arrivals[of.index].Reason, 1)
		}
		keep, until := of.acceptance.queue.store.retention.payload(outcome, of.acceptance.at)
		if keep && isDeadLetter(outcome) {
			letters, err := t.deadLetters(of.acceptance.queue)
			if err != nil {
				return err
			}
			bytes := int64(len(in.payloads[i]))
			if keep = letters.keep(outcome, bytes); keep {
				t.sums.add(of.acceptance.queue.connection, outcome, 0, bytes)
			} else {
				letters.refuse(id, bytes)
			}
		}
		if keep {
			kept.ids = append(kept.ids, id)
			kept.connections = append(kept.connections, in.connections[i])
			kept.outcomes = append(kept.outcomes, in.outcomes[i])
			kept.payloads = append(kept.payloads, in.payloads[i])
			kept.checksums = append(kept.checksums, in.checksums[i])
			keepUntil = append(keepUntil, asPointer[int64](timeOrNull(until)))
		}
	}
	_, err := t.tx.Exec(t.ctx, `INSERT INTO deliveries (id, connection, tenant, outcome, body_hash, message_id,
			user_hash, user_id, account_id, event_key,
			received_at, settled_ms, attempts, ambiguous, reason, detail, run, event)
		SELECT i.id, i.connection, i.tenant, i.outcome, i.body_hash, i.message_id,
			i.user_hash, i.user_id, i.account_id, i.event_key, i.at, 0, 0, 0, i.reason, i.detail, i.run, i.event
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::bigint[], $6::text[], $7::bigint[],
				$8::text[], $9::text[], $10::text[], $11::bigint[], $12::text[], $13::text[], $14::bigint[],
				$15::integer[])
			AS i (id, connection, tenant, outcome, body_hash, message_id, user_hash, user_id, account_id, event_key,
				at, reason, detail, run, event)`,
		in.ids, in.connections, in.tenants, in.outcomes, in.bodyHashes, in.messageIDs, in.userHashes, in.users,
		in.accounts, in.events, in.times, in.reasons, in.details, in.runs, in.names)
	if err != nil || len(kept.ids) == 0 {
		return err
	}
	_, err = t.tx.Exec(t.ctx, `WITH kept AS (
			SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::integer[], $5::bigint[], $6::smallint[])
				AS k (delivery, keep_until, payload, checksum, connection, outcome)
		), letters AS (
			INSERT INTO dead_letters (outcome, delivery, connection, bytes)
			SELECT outcome, delivery, connection, length(payload) FROM kept WHERE outcome IN (4, 5)
		)
		INSERT INTO payloads (delivery, keep_until, payload, checksum)
		SELECT delivery, keep_until, payload, checksum FROM kept`,
		kept.ids, keepUntil, kept.payloads, kept.checksums, kept.connections, kept.outcomes)
	return err
}

// deadLetters returns the sizes of the dead letters, with those of this transaction.
func (t *postgresTransaction) deadLetters(q *Queue) (*deadLetters, error) {
	if t.letters != nil {
		return t.letters, nil
	}
	letters := &deadLetters{limit: q.store.limits.DeadLetters}
	rows, err := t.tx.Query(t.ctx, sizesSQL)
	if err != nil {
		return nil, fmt.Errorf("read the size of dead letters: %w", err)
	}
	var outcome int16
	var bytes int64
	_, err = pgx.ForEachRow(rows, []any{&outcome, &bytes}, func() error {
		letters.set(adapter.Outcome(outcome), bytes)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the size of dead letters: %w", err)
	}
	t.letters = letters
	return letters, nil
}

// addTotals is the last statement before the commit, so a shard is locked only during the commit.
func (t *postgresTransaction) addTotals(shard int64) error {
	if len(t.sums) == 0 {
		return nil
	}
	// In one order, or two transactions could wait for each other.
	keys := slices.SortedFunc(maps.Keys(t.sums), func(a, b sumKey) int {
		return cmp.Or(cmp.Compare(a.connection, b.connection), cmp.Compare(a.outcome, b.outcome))
	})
	var connections, events, bytes []int64
	var outcomes []int16
	for _, key := range keys {
		connections = append(connections, key.connection)
		outcomes = append(outcomes, int16(key.outcome))
		events = append(events, t.sums[key].events)
		bytes = append(bytes, t.sums[key].bytes)
	}
	_, err := t.tx.Exec(t.ctx, `INSERT INTO totals (connection, shard, outcome, events, removed, bytes)
		SELECT i.connection, $1, i.outcome, i.events, 0, i.bytes
		FROM unnest($2::bigint[], $3::smallint[], $4::bigint[], $5::bigint[]) AS i (connection, outcome, events, bytes)
		ON CONFLICT (connection, shard, outcome) DO UPDATE
			SET events = totals.events + excluded.events, bytes = totals.bytes + excluded.bytes`,
		shard, connections, outcomes, events, bytes)
	return wrap("add to the totals", err)
}
