package store

import (
	"context"
	"database/sql/driver"
	"fmt"

	"segment-saasquatch/adapter"
)

// settling has steps that settle events, to record them many at a time.
type settling struct {
	steps recordings
	ids   map[int64]struct{}
	// rows are the rows of the statement settleAll.
	rows, upserts, found []driver.NamedValue
}

// settleColumns is the number of values in a row of settleAll.
const settleColumns = 14

// recordAll settles events or puts them back. It gathers steps that settle events, which may come after later steps of
// other events: a delivered upsert then also supersedes an upsert whose last try follows.
func (t *transaction) recordAll(rs recordings) error {
	for _, r := range rs {
		if _, again := t.settling.ids[r.leased.ID]; again {
			if err := t.settleGathered(); err != nil {
				return err
			}
		}
		if !t.settlesTogether(r) {
			if err := t.record(r); err != nil {
				return err
			}
			continue
		}
		if t.settling.ids == nil {
			t.settling.ids = make(map[int64]struct{}, len(rs))
		}
		t.settling.ids[r.leased.ID] = struct{}{}
		t.settling.steps = append(t.settling.steps, r)
	}
	return t.settleGathered()
}

// settlesTogether reports whether the step settles its event and leaves no payload.
func (t *transaction) settlesTogether(r *recording) bool {
	return r.step.Outcome != adapter.Pending && !r.keepPayload && !r.failedAttempt()
}

// settleGathered records the gathered steps.
func (t *transaction) settleGathered() error {
	s := &t.settling
	if len(s.steps) == 0 {
		return nil
	}
	defer func() {
		clear(s.ids)
		s.steps = s.steps[:0]
	}()
	s.rows, s.upserts, s.found = s.rows[:0], s.upserts[:0], s.found[:0]
	for _, r := range s.steps {
		r.lost, r.stored = false, false
		s.rows = settleRow(s.rows, r)
	}
	settled, err := t.settleAll.exec(s.rows)
	if err != nil {
		return fmt.Errorf("settle events: %w", err)
	}
	if settled != int64(len(s.steps)) {
		if err := t.findLost(); err != nil {
			return err
		}
	}
	for _, r := range s.steps {
		if r.lost {
			continue
		}
		s.found = appendValues(s.found, r.leased.ID)
		if r.supersedes() {
			s.upserts = appendValues(s.upserts, r.leased.ID)
		}
		t.sums.add(r.queue.connection, adapter.Pending, -1, -int64(len(r.leased.Payload)))
		t.sums.add(r.queue.connection, r.step.Outcome, 1, 0)
		t.runs.settle(r.leased.Run, r.step.Outcome, r.step.Reason)
	}
	if _, err := t.supersedeAll.exec(s.upserts); err != nil {
		return fmt.Errorf("supersede upserts: %w", err)
	}
	_, err = t.dequeueAll.exec(s.found)
	return wrap("take events from the queue", err)
}

// settleRow appends the row of a step for settleAll. The event has its user in the queue.
func settleRow(rows []driver.NamedValue, r *recording) []driver.NamedValue {
	step, l := &r.step, r.leased
	var user, account any
	if short, shortAccount := cut(l.UserID), cut(l.AccountID); short != l.UserID || shortAccount != l.AccountID {
		user, account = short, accountOf(shortAccount, short)
	}
	return appendValues(rows, l.ID, r.queue.tenant, int64(step.Outcome), userHash(l.UserID), user, account,
		orNull(cut(step.EventKey)), r.counted(), milliseconds(step.At), orNull(int64(step.Status)),
		asInt(step.Ambiguous), orNull(string(step.Reason)), orNull(cut(step.Detail)), orNull(int64(step.Call)))
}

// findLost marks the gathered steps whose events are not in the queue, or moved to another tenant. The others have
// been settled, and are still in the queue.
func (t *transaction) findLost() error {
	for _, r := range t.settling.steps {
		var found bool
		err := t.conn.QueryRowContext(context.Background(), `SELECT count(*) FROM queue WHERE id = ?1 AND tenant = ?2`,
			r.leased.ID, r.queue.tenant).Scan(&found)
		if err != nil {
			return fmt.Errorf("look for lost events: %w", err)
		}
		r.lost = !found
	}
	return nil
}
