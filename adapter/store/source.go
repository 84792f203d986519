package store

import (
	"context"
	"database/sql"
	"slices"
	"strconv"

	"segment-saasquatch/adapter"
)

// table is one of the two that an event can be in.
type table struct {
	isLog bool
	// reason is the expression of the event's reason.
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
	attempts, received_at, received_at + first_attempt_ms, received_at + last_attempt_ms, received_at + settled_ms, NULL,
	ambiguous <> 0, run, tenant, CASE WHEN outcome = 4 AND run IS NOT NULL
		THEN coalesce((SELECT repeats FROM rejected WHERE delivery = deliveries.id), 0) ELSE 0 END,
	outcome IN (4, 5) AND NOT EXISTS (SELECT 1 FROM payloads WHERE delivery = deliveries.id)`,
}

// queueTable has the pending events. Why one is pending depends on the tenants that
// the connections have.
func (s *Store) queueTable() table {
	reason := s.pendingReason()
	return table{
		reason: reason,
		columns: `id, connection, message_id, user_id, account_id,
	(SELECT name FROM event_names WHERE event_names.id = queue.event), event_key, 6, ` + reason + `, detail, status,
	attempts, received_at, first_attempt_at, last_attempt_at, NULL, CASE WHEN due_at < ` + heldText + ` THEN due_at END,
	ambiguous_at IS NOT NULL, run, tenant, 0, 1 = 0`,
	}
}

// source is a part of a table, and the way in which its rows are read: in the order of
// their ids, without a sort of more than a few rows.
type source struct {
	table
	// from is the FROM clause, and keys the conditions that pick the part.
	from string
	keys []string
	// id is the expression of the ids in whose order the rows are read.
	id string
	// unindexed stands before columns whose indexes are not in the order of ids. With it
	// the databases do not sort what they find by these indexes.
	unindexed string
	// parts are the outcomes of the rows that are read one after the other, and picked
	// those of them that the filter picks. Where they are of one run, that is run. A source
	// without parts is looked up by another index, and reads few rows.
	parts, picked []adapter.Outcome
	run           int64
	// building says that the rows have an index that is not complete.
	building bool
}

// logIndexes say how an engine reads the log by its indexes.
type logIndexes struct {
	byOutcome, byRun logIndex
	// userID is the expression of the ids, by which the rows of a user are ordered.
	userID string
}

// logIndex is an index that has its rows in the order of ids.
type logIndex struct {
	// from is the FROM clause; run, outcome and id are the columns of the index.
	from, run, outcome, id string
}

// sorted is the expression of ids that no index orders, so that the databases look the
// rows up, which are few, and do not go through the whole table in the order of ids.
const sorted = "id + 0"

// sources returns where events are that the filter may pick. No event is in two.
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
	if f.Run != 0 { // with the dead letters that it brought again
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
		// The words by which the databases know the index of all versions.
		log.keys = append(log.keys, "outcome IN (4, 5)")
		log.parts = []adapter.Outcome{adapter.Rejected, adapter.Dead}
	}
	log.building = true
	return append(found, log), nil
}

// settledOutcomes returns those of the outcomes that are in the log, all if none is given.
func settledOutcomes(outcomes []adapter.Outcome) (settled []adapter.Outcome) {
	for _, outcome := range adapter.Outcomes {
		if outcome != adapter.Pending && (len(outcomes) == 0 || slices.Contains(outcomes, outcome)) {
			settled = append(settled, outcome)
		}
	}
	return settled
}

// outcomeSources returns a source for each of the outcomes. Delivered events have no
// index: they are the most.
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

// runSources returns a source for each of the outcomes of a run, and one for the dead
// letters of earlier runs that it brought again.
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

// Of pending events that are few, or a small part of all, the newest are found by an index
// that is not in the order of ids, and sorted. Of others the newest are sooner found in the
// order of ids, unless they are older than those of other connections and runs.
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
