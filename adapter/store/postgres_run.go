package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"segment-saasquatch/adapter"
)

// advance records the progress of a run.
func (t *postgresTransaction) advance(a *acceptance) error {
	if a.run == nil {
		return nil
	}
	tag, err := t.tx.Exec(t.ctx,
		`UPDATE runs SET progress = coalesce($3, progress), updated_at = $4 WHERE id = $1 AND owner = $2`,
		a.run.ID, a.run.Owner, orNull(string(a.batch.Progress)), milliseconds(a.at))
	if err != nil {
		return fmt.Errorf("record the progress of a run: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return adapter.ErrRunTaken
	}
	for i := range a.batch.Objects {
		o := &a.batch.Objects[i]
		_, err := t.tx.Exec(t.ctx, `INSERT INTO run_objects (run, object, version, lines, done, fault)
			VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (run, object) DO UPDATE SET version = excluded.version, lines = excluded.lines,
				done = excluded.done, fault = excluded.fault`,
			a.run.ID, clean(o.Object), clean(o.Version), o.Lines, asInt(o.Done), orNull(cut(o.Fault)))
		if err != nil {
			return fmt.Errorf("record the progress in an object: %w", err)
		}
	}
	for _, tally := range a.batch.Tallies {
		t.runs.add(a.run.ID, tally.Outcome, tally.Reason, tally.Events)
	}
	return nil
}

// live returns the events of live traffic: duplicates of a replay are counted but not stored.
func (in *incoming) live() *incoming {
	if !slices.ContainsFunc(in.of, func(of arrivalOf) bool { return of.acceptance.run != nil }) {
		return in
	}
	live := &incoming{}
	for i, of := range in.of {
		if of.acceptance.run != nil {
			continue
		}
		live.add(of, in.ids[i])
		last := len(live.ids) - 1
		live.outcomes[last], live.bodyHashes[last] = in.outcomes[i], in.bodyHashes[i]
		live.reasons[last], live.details[last] = in.reasons[i], in.details[i]
	}
	return live
}

// addRunOutcomes comes last and in one order, as addTotals does.
func (t *postgresTransaction) addRunOutcomes(shard int64) error {
	keys := slices.SortedFunc(maps.Keys(t.runs), func(a, b runKey) int {
		return cmp.Or(cmp.Compare(a.run, b.run), cmp.Compare(a.outcome, b.outcome), cmp.Compare(a.reason, b.reason))
	})
	for _, key := range keys {
		_, err := t.tx.Exec(t.ctx, `INSERT INTO run_outcomes (run, shard, outcome, reason, events)
			VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (run, shard, outcome, reason) DO UPDATE SET events = run_outcomes.events + excluded.events`,
			key.run, shard, int64(key.outcome), string(key.reason), t.runs[key])
		if err != nil {
			return fmt.Errorf("add to the outcomes of a run: %w", err)
		}
	}
	return nil
}
