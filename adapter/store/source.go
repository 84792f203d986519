package store

import (
	"context"
	"database/sql"
	"slices"
	"strconv"

	"segment-saasquatch/adapter"
)

// table is one of the two tables of events.
type table struct {
	isLog bool
	// reason is the expression for the reason of an event.
	reason string
	// columns are those of a Delivery, in the order of scanDelivery.
	columns string
}

// logTable has the settled events.
var logTable = table{
	isLog:  true,
	reason: "reason",
	columns: `id, connection, message_id, user_id, account_id,
	(SELECT name FROM event_names WHERE event_names.id = deliveries.event), event_key, outcome, reason, detail, status,
	attempts, received_at, received_at + first_attempt_ms, received_at + last_attempt_ms,
	received_at + settled_ms, NULL,
	ambiguous <> 0, run, tenant, CASE WHEN outcome = 4 AND run IS NOT NULL
		THEN coalesce((SELECT repeats FROM rejected WHERE delivery = deliveries.id), 0) ELSE 0 END,
	outcome IN (4, 5) AND NOT EXISTS (SELECT 1 FROM payloads WHERE delivery = deliveries.id), coalesce(call, 0)`,
}

// queueTable has the pending events. The reason why one is pending depends on the tenants of the connections.
func (s *Store) queueTable() table {
	reason := s.pendingReason()
	return table{
		reason: reason,
		columns: `id, connection, message_id, user_id, account_id,
	(SELECT name FROM event_names WHERE event_names.id = queue.event), event_key, 6, ` + reason + `, detail, status,
	attempts, received_at, first_attempt_at, last_attempt_at, NULL,
	CASE WHEN due_at < ` + heldText + ` THEN due_at END,
	ambiguous_at IS NOT NULL, run, tenant, 0, 1 = 0, coalesce(call, 0)`,
	}
}

// source is a part of a table and the way to read its rows: in the order of their ids, with a sort of few rows at
// most.
type source struct {
	table
	// from is the FROM clause, and keys are the conditions that select the part.
	from string
	keys []string
	// id is the expression for the ids in whose order the rows are read.
	id string
	// unindexed precedes columns whose indexes are not in the order of ids. With it the databases do not use these
	// indexes, and so do not sort.
	unindexed string
	// parts are the outcomes of the rows that are read in sequence, and picked those of them that the filter matches.
	// If all rows are of one run, run is that run. A source without parts uses another index, and reads few rows.
	parts, picked []adapter.Outcome
	run           int64
	// building is set if the index of the rows is not complete.
	building bool
}

// logIndexes describe the indexes by which an engine reads the log.
type logIndexes struct {
	byOutcome, byRun logIndex
	// userID is the expression for the ids that orders the rows of a user.
	userID string
}

// logIndex is an index in the order of ids.
type logIndex struct {
	// from is the FROM clause; run, outcome and id are the columns of the index.
	from, run, outcome, id string
}

// sorted is an expression for ids that no index has. With it the databases look up the rows, which are few, and do
// not scan the whole table in the order of ids.
const sorted = "id + 0"

// sources returns the parts of the tables that may have events for the filter. No event is in two parts.
func (s *Store) sources(ctx context.Context, tx *sql.Tx, f *adapter.Filter) ([]source, error) {
	var found []source
	if len(f.Outcomes) == 0 || slices.Contains(f.Outcomes, adapter.Pending) {
		pending, err := s.pendingSource(ctx, tx, f)
		if err != nil {
			return nil, err
		}
		found = append(found, pending)
	}
	outcomes := settledOutcomes(f.Outcomes)
	if len(outcomes) == 0 {
		return found, nil
	}
	log := source{table: logTable, from: "deliveries", id: "id", parts: settledOutcomes(nil), picked: outcomes}
	if len(outcomes) < len(log.parts) {
		log.keys = append(log.keys, "outcome IN "+outcomeNumbers(outcomes))
	}
	if f.Run != 0 { // with the dead letters that the run brought again
		run := strconv.FormatInt(f.Run, 10)
		log.keys = append(log.keys,
			"(run = "+run+" OR id IN (SELECT delivery FROM run_rejected WHERE run_rejected.run = "+run+"))")
	}
	switch {
	case f.IDs != nil || f.MessageID != "":
		log.id, log.parts = sorted, nil
		return append(found, log), nil
	case f.UserID != "":
		log.id, log.parts = s.engine.logIndexes().userID, nil
		return append(found, log), nil
	case f.Run == 0 && len(outcomes) == len(log.parts):
		return append(found, log), nil
	}
	complete, err := s.indexed(ctx, tx)
	switch {
	case err != nil:
		return nil, err
	case complete && f.Run != 0:
		return append(found, s.runSources(f.Run, outcomes)...), nil
	case complete:
		return append(found, s.outcomeSources(outcomes)...), nil
	case f.Run == 0 && !slices.ContainsFunc(outcomes, func(o adapter.Outcome) bool { return !isDeadLetter(o) }):
		// All versions have an index with this condition.
		log.keys = append(log.keys, "outcome IN (4, 5)")
		log.parts = []adapter.Outcome{adapter.Rejected, adapter.Dead}
	}
	log.building = true
	return append(found, log), nil
}

// settledOutcomes returns the settled ones of the outcomes, all settled outcomes if none is given.
func settledOutcomes(outcomes []adapter.Outcome) (settled []adapter.Outcome) {
	for _, outcome := range adapter.Outcomes {
		if outcome != adapter.Pending && (len(outcomes) == 0 || slices.Contains(outcomes, outcome)) {
			settled = append(settled, outcome)
		}
	}
	return settled
}

// outcomeSources returns a source for each of the outcomes. Delivered events have no index: most events are
// delivered.
func (s *Store) outcomeSources(outcomes []adapter.Outcome) (found []source) {
	index := s.engine.logIndexes().byOutcome
	for _, outcome := range outcomes {
		only := []adapter.Outcome{outcome}
		from := source{table: logTable, from: index.from, id: index.id, parts: only, picked: only}
		column := index.outcome
		if outcome == adapter.Delivered {
			from.from, from.id, from.parts, column = "deliveries", "id", settledOutcomes(nil), "outcome"
		}
		from.keys = []string{column + " = " + strconv.Itoa(int(outcome))}
		found = append(found, from)
	}
	return found
}

// runSources returns a source for each of the outcomes of a run, and one for the dead letters of earlier runs that
// the run brought again.
func (s *Store) runSources(run int64, outcomes []adapter.Outcome) (found []source) {
	index := s.engine.logIndexes().byRun
	number := strconv.FormatInt(run, 10)
	for _, outcome := range outcomes {
		only := []adapter.Outcome{outcome}
		found = append(found, source{
			table: logTable, from: index.from, id: index.id, parts: only, picked: only, run: run,
			keys: []string{index.run + " = " + number, index.outcome + " = " + strconv.Itoa(int(outcome))},
		})
	}
	return append(found, source{
		table: logTable, id: "again",
		from: "(SELECT delivery AS again FROM run_rejected WHERE run_rejected.run = " + number + ") AS repeated " +
			"CROSS JOIN deliveries",
		keys: []string{"id = again", "outcome IN " + outcomeNumbers(outcomes), "coalesce(run, 0) <> " + number},
	})
}

// If the pending events are few, or a small part of all, an index that is not in the order of ids finds them, and the
// newest are sorted. Otherwise the newest are found sooner in the order of ids, unless they are older than those of
// other connections and runs.
const (
	fewPending     = 1000
	sortedPending  = 10_000
	pendingPortion = 10
)

// pendingSource returns the queue.
func (s *Store) pendingSource(ctx context.Context, tx *sql.Tx, f *adapter.Filter) (source, error) {
	pending := []adapter.Outcome{adapter.Pending}
	queue := source{table: s.queueTable(), from: "queue", id: "id", unindexed: "+", parts: pending, picked: pending}
	isFew := f.IDs != nil || f.MessageID != ""
	if !isFew && (f.Connection != "" || f.Run != 0) {
		connection, _ := s.names.find(f.Connection)
		var all, some int64
		err := tx.QueryRowContext(ctx, `SELECT CAST(coalesce(sum(events), 0) AS bigint),
				CAST(coalesce(sum(CASE WHEN connection = $1 THEN events END), 0) AS bigint)
			FROM totals WHERE outcome = 6`, connection).Scan(&all, &some)
		if err == nil && f.Run != 0 {
			var ofRun int64
			err = tx.QueryRowContext(ctx, `SELECT CAST(coalesce(sum(events), 0) AS bigint) FROM run_outcomes
				WHERE run = $1 AND outcome = 6`, f.Run).Scan(&ofRun)
			if f.Connection == "" || ofRun < some {
				some = ofRun
			}
		}
		if err != nil {
			return queue, err
		}
		isFew = some <= fewPending || some <= sortedPending && some*pendingPortion <= all
	}
	if isFew {
		queue.id, queue.unindexed, queue.parts = sorted, "", nil
	}
	return queue, nil
}
