package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// apply makes the changes in one transaction. The caller cannot interrupt it: whether an event is on disk must not
// depend on the caller's patience.
func (e *sqliteEngine) apply(changes []change) (applied, error) {
	e.lockWriter()
	defer e.unlockWriter()
	if err := e.check(); err != nil {
		return applied{}, err
	}
	done, err := e.applyOnce(changes)
	accepts := func(c change) bool { _, ok := c.(*acceptance); return ok }
	if isFull(err) && !slices.ContainsFunc(changes, accepts) {
		// Changes that free room must not fail because the disk is full.
		e.makeRoom()
		done, err = e.applyOnce(changes)
	}
	return done, err
}

// applyOnce makes the changes in one transaction. The caller holds the writer.
//
// After an error from COMMIT nothing is stored, as far as this process can tell: SQLite has undone the transaction,
// and the next one overwrites it in the log. Its hole: a disk that fails to sync may have the whole transaction in
// the log. If the process is killed before the next transaction, a restart finds it committed.
func (e *sqliteEngine) applyOnce(changes []change) (applied, error) {
	if _, err := e.statements.begin.Exec(); err != nil {
		return applied{}, fmt.Errorf("begin: %w", err)
	}
	t := transaction{
		statements: e.statements, conn: e.connection, index: &e.messages, own: newMessageSet(),
		known: make(map[int64]struct{}), sums: make(sums), runs: make(runSums),
	}
	err := t.apply(changes)
	if err == nil {
		err = stillWanted(changes)
	}
	if err == nil {
		_, err = e.statements.commit.Exec()
	}
	if err != nil {
		// Some errors have ended the transaction already; then this statement fails.
		_, _ = e.statements.rollback.Exec()
		return applied{}, err
	}
	e.messages.add(t.own)
	e.boundLog()
	for _, c := range changes {
		switch c := c.(type) {
		case *acceptance:
			e.cursors.lower(c.queue, c.due())
			c.markDuplicates()
		case recordings:
			for _, r := range c {
				e.leases.end(r.leased.ID)
				if r.step.Outcome == adapter.Pending {
					e.cursors.lower(r.queue, milliseconds(r.step.Due))
				}
			}
		case *marking:
			if c.lost { // no outcome follows
				e.leases.end(c.leased.ID)
			}
		case *release:
			for _, leased := range c.leased {
				e.leases.end(leased.ID)
			}
			e.cursors.reset() // they may be due since long ago
		}
	}
	return t.letters.applied(), nil
}

// transaction is a running transaction.
type transaction struct {
	*statements
	conn  *sql.Conn
	index *messageIndex
	own   *messageSet        // the messageIds of this transaction
	known map[int64]struct{} // those of its hashes that are in the table of messageIds
	sums  sums
	runs  runSums
	// letters are nil until there is one.
	letters  *deadLetters
	nextID   int64
	rows     []driver.NamedValue // of the queue, inserted many at a time
	settling settling
}

func (t *transaction) apply(changes []change) error {
	if err := t.allocateFor(changes); err != nil {
		return err
	}
	if err := t.findKnown(changes); err != nil {
		return err
	}
	for _, c := range changes {
		var err error
		switch c := c.(type) {
		case *acceptance:
			err = t.accept(c)
		case recordings:
			err = t.recordAll(c)
		case *marking:
			err = t.mark(c)
		case *release:
			err = t.release(c)
		}
		if err != nil {
			return err
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	for key, sum := range t.sums {
		if _, err := t.addTotal.Exec(key.connection, key.outcome, sum.events, sum.bytes); err != nil {
			return fmt.Errorf("add to the totals: %w", err)
		}
	}
	for key, events := range t.runs {
		if _, err := t.addRunOutcome.Exec(key.run, key.outcome, string(key.reason), events); err != nil {
			return fmt.Errorf("add to the outcomes of a run: %w", err)
		}
	}
	return nil
}

// allocateFor allocates ids for all new events.
func (t *transaction) allocateFor(changes []change) error {
	n := 0
	for _, c := range changes {
		if a, ok := c.(*acceptance); ok {
			n += len(a.arrivals)
		}
	}
	if n == 0 {
		return nil
	}
	if err := t.allocate.QueryRow(n).Scan(&t.nextID); err != nil {
		return fmt.Errorf("allocate ids: %w", err)
	}
	t.nextID -= int64(n)
	return nil
}

func (t *transaction) accept(a *acceptance) error {
	a.duplicates = a.duplicates[:0]
	if err := t.advance(a); err != nil {
		return err
	}
	for i := range a.arrivals {
		arrival := &a.arrivals[i]
		id := t.nextID
		t.nextID++
		outcome, stored, err := t.store(a, i, id)
		if err != nil {
			return fmt.Errorf("store an event: %w", err)
		}
		if !stored {
			continue // it is counted but not stored: an archive may be replayed often
		}
		t.runs.add(a.runID(), outcome, a.reasonOf(i, outcome), 1)
		t.sums.add(a.queue.connection, accepted, 1, 0)
		if outcome == adapter.Pending {
			t.sums.add(a.queue.connection, outcome, 1, int64(len(arrival.Payload)))
		} else {
			t.sums.add(a.queue.connection, outcome, 1, 0)
		}
	}
	return nil
}

// findKnown looks up which hashes of the new events are in the table of messageIds.
func (t *transaction) findKnown(changes []change) error {
	var hashes []driver.NamedValue
	for _, c := range changes {
		a, ok := c.(*acceptance)
		if !ok {
			continue
		}
		for i := range a.arrivals {
			if a.arrivals[i].Outcome == adapter.Pending && bodyHash(&a.arrivals[i]) != nil {
				hashes = appendValues(hashes, textHash(cut(a.arrivals[i].MessageID)))
			}
		}
	}
	err := t.statements.known.query(hashes, func(row []driver.Value) error {
		t.known[number(row[0])] = struct{}{}
		return nil
	})
	return wrap("look for duplicates", err)
}

// store stores one arrival and returns its outcome. Some arrivals of a replay are only counted; then stored is false.
func (t *transaction) store(a *acceptance, i int, id int64) (outcome adapter.Outcome, stored bool, err error) {
	arrival := &a.arrivals[i]
	messageID := cut(arrival.MessageID)
	hash := textHash(messageID)
	if messageID != "" {
		// Added last, after the look-up of other events with the messageId.
		defer func() {
			if stored {
				t.own.add(entry{hash, id})
			}
		}()
	}
	body := bodyHash(arrival)
	if a.run != nil && arrival.Outcome == adapter.Rejected {
		if again, err := t.rejectedAgain(a, arrival, id); err != nil || again {
			return adapter.Rejected, false, err
		}
	}
	if arrival.Outcome != adapter.Pending {
		return arrival.Outcome, true, t.log(a, i, arrival, id, messageID, body, arrival.Reason)
	}
	if body != nil {
		_, onDisk := t.known[hash]
		candidates := t.own.find(hash, t.index.inMemory(hash))
		if onDisk || len(candidates) > 0 {
			reason, err := t.duplicateOf(a, hash, candidates, body, a.queue.store.formerHash(arrival), messageID)
			if err != nil {
				return 0, false, err
			}
			if reason != "" {
				a.duplicates = append(a.duplicates, duplicate{i, reason})
				if a.run != nil {
					t.runs.add(a.run.ID, adapter.Duplicate, reason, 1)
					return adapter.Duplicate, false, nil
				}
				copied := *arrival
				copied.Outcome = adapter.Duplicate
				return adapter.Duplicate, true, t.log(a, i, &copied, id, messageID, nil, reason)
			}
		}
	}
	at := milliseconds(a.at)
	t.rows = appendValues(t.rows, id, a.queue.connection, a.due(), at, a.queue.tenant, body, messageID,
		clean(arrival.UserID), accountOf(clean(arrival.AccountID), clean(arrival.UserID)), cut(arrival.EventKey),
		payloadOf(arrival),
		orNull(a.runID()), a.lease(), orNull(a.events[i]), checksum(arrival.Payload, id),
		a.holds(arrival))
	if len(t.rows) == rowSizes[0]*rowColumns {
		return adapter.Pending, true, t.flush()
	}
	return adapter.Pending, true, nil
}

// rejectedAgain reports whether a dead letter of a run has the payload of a rejected arrival, and then counts the
// arrival. Otherwise the delivery with the id becomes the dead letter.
func (t *transaction) rejectedAgain(a *acceptance, arrival *adapter.Arrival, id int64) (again bool, err error) {
	var first int64
	if err := t.rejectAgain.QueryRow(a.digest(arrival), id).Scan(&first); err != nil {
		return false, fmt.Errorf("look for a dead letter: %w", err)
	}
	if first == id {
		return false, nil
	}
	if _, err := t.runRejected.Exec(a.run.ID, first); err != nil {
		return false, fmt.Errorf("record the failure of a run: %w", err)
	}
	t.runs.add(a.run.ID, adapter.Rejected, arrival.Reason, 1)
	return true, nil
}

// rowColumns is the number of values in a new row of the queue.
const rowColumns = 16

// payloadOf returns the payload, which may be empty but not null.
func payloadOf(a *adapter.Arrival) []byte {
	if a.Payload == nil {
		return []byte{}
	}
	return a.Payload
}

// flush inserts the collected rows.
func (t *transaction) flush() error {
	defer func() { t.rows = t.rows[:0] }()
	_, err := t.enqueue.exec(t.rows)
	return wrap("store events", err)
}

// duplicateOf looks for the same event among those with the same hash. It returns the reason for a duplicate, or an
// empty reason.
func (t *transaction) duplicateOf(
	a *acceptance, hash int64, candidates []int64, body, former any, messageID string,
) (mapping.Reason, error) {
	if err := t.flush(); err != nil { // the other event may be in the same request
		return "", err
	}
	rows, err := t.candidates.Query(hash)
	onDisk, err := column[int64](rows, err)
	if err != nil {
		return "", err
	}
	candidates = append(candidates, onDisk...)
	var isPending, isDelivered bool
	err = t.conn.QueryRowContext(context.Background(), sameEventSQL(candidates, hashList(former)),
		a.queue.tenant, body, messageID).Scan(&isPending, &isDelivered)
	if err != nil || !isPending && !isDelivered {
		return "", err
	}
	return duplicateReason(isPending), nil
}

// log inserts an arrival that is already settled into the log.
func (t *transaction) log(
	a *acceptance, i int, arrival *adapter.Arrival, id int64, messageID string, body any, reason mapping.Reason,
) error {
	q := a.queue
	if _, err := t.logArrival.Exec(id, q.connection, q.tenant, int64(arrival.Outcome), body, messageID,
		userHash(arrival.UserID), cut(arrival.UserID), accountOf(cut(arrival.AccountID), cut(arrival.UserID)),
		cut(arrival.EventKey), milliseconds(a.at),
		orNull(string(reason)), orNull(cut(arrival.Detail)), orNull(a.runID()), orNull(a.events[i])); err != nil {
		return err
	}
	keep, until := q.store.retention.payload(arrival.Outcome, a.at)
	if keep && isDeadLetter(arrival.Outcome) {
		var err error
		if keep, err = t.keepDeadLetter(q, arrival.Outcome, id, int64(len(arrival.Payload))); err != nil {
			return err
		}
	}
	if keep {
		_, err := t.keepPayload.Exec(id, timeOrNull(until), payloadOf(arrival), checksum(arrival.Payload, id))
		return err
	}
	return nil
}

// keepDeadLetter reports whether the payload of a dead letter has room, and counts it.
func (t *transaction) keepDeadLetter(q *Queue, outcome adapter.Outcome, id, bytes int64) (bool, error) {
	if t.letters == nil {
		rows, err := t.deadLetterSizes.Query()
		if t.letters, err = readSizes(rows, err, q.store.limits.DeadLetters); err != nil {
			return false, fmt.Errorf("read the size of dead letters: %w", err)
		}
	}
	if !t.letters.keep(outcome, bytes) {
		t.letters.refuse(id, bytes)
		return false, nil
	}
	t.sums.add(q.connection, outcome, 0, bytes)
	if _, err := t.addDeadLetter.Exec(int64(outcome), id, q.connection, bytes); err != nil {
		return false, fmt.Errorf("count a dead letter: %w", err)
	}
	return true, nil
}

// record settles an event or puts it back. An event that an operator has moved to another tenant is lost.
func (t *transaction) record(r *recording) error {
	r.lost = false
	step, id := &r.step, r.leased.ID
	if step.Outcome == adapter.Pending {
		found, err := affected(t.putBack.Exec(id, milliseconds(step.Due), orNull(cut(step.EventKey)),
			asInt(step.Counted),
			r.counted(), r.ambiguous(), orNull(step.Status), orNull(string(step.Reason)), orNull(cut(step.Detail)),
			r.queue.tenant, r.tries(), orNull(int64(step.Call)), r.keepsMark()))
		if err != nil {
			return fmt.Errorf("put an event back: %w", err)
		}
		if r.lost = !found; r.lost {
			return nil
		}
		return t.recordAttempt(r)
	}
	settled, err := t.settleAll.exec(settleRow(nil, r))
	if err != nil {
		return fmt.Errorf("settle an event: %w", err)
	}
	if r.lost = settled == 0; r.lost {
		return nil
	}
	if r.supersedes() {
		if _, err := t.supersedeAll.exec(appendValues(nil, id)); err != nil {
			return fmt.Errorf("supersede upserts: %w", err)
		}
	}
	r.stored = r.keepPayload
	if r.keepPayload && isDeadLetter(step.Outcome) {
		if r.stored, err = t.keepDeadLetter(r.queue, step.Outcome, id, int64(len(r.leased.Payload))); err != nil {
			return err
		}
	}
	if r.stored {
		if _, err := t.keepQueued.Exec(id, timeOrNull(r.keepUntil)); err != nil {
			return fmt.Errorf("keep a payload: %w", err)
		}
	}
	if _, err := t.dequeueAll.exec(appendValues(nil, id)); err != nil {
		return fmt.Errorf("take an event from the queue: %w", err)
	}
	t.sums.add(r.queue.connection, adapter.Pending, -1, -int64(len(r.leased.Payload)))
	t.sums.add(r.queue.connection, step.Outcome, 1, 0)
	t.runs.settle(r.leased.Run, step.Outcome, step.Reason)
	return t.recordAttempt(r)
}

// recordAttempt adds an attempt that did not deliver to the event's history.
func (t *transaction) recordAttempt(r *recording) error {
	if !r.failedAttempt() {
		return nil
	}
	step := &r.step
	took := step.At.Sub(step.Began).Milliseconds()
	_, err := t.attempt.Exec(r.leased.ID, milliseconds(step.Began), took, orNull(step.Status),
		string(step.Reason), orNull(cut(step.Detail)), orNull(int64(step.Call)))
	return wrap("record an attempt", err)
}

// mark records that an attempt begins. An event that an operator has purged, or moved to another tenant, is lost.
func (t *transaction) mark(m *marking) error {
	found, err := affected(t.markSending.Exec(m.leased.ID, milliseconds(m.at), m.queue.tenant))
	if err != nil {
		return fmt.Errorf("mark an event: %w", err)
	}
	m.lost = !found
	return nil
}

// release makes events due that were leased before they were due. Their leases are in memory.
func (t *transaction) release(r *release) error {
	now := milliseconds(r.queue.store.now())
	for _, leased := range r.leased {
		if _, err := t.makeDue.Exec(leased.ID, now, r.queue.tenant); err != nil {
			return fmt.Errorf("release an event: %w", err)
		}
	}
	return nil
}

// timeOrNull returns milliseconds, or nil for the zero time.
func timeOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return milliseconds(t)
}

func asInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
