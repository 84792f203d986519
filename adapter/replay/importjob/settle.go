package replay

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/saasquatch"
	"segment-saasquatch/mapping"
)

// complete records what became of the events of a job that has completed.
func (i *importing) complete(ctx context.Context, j *job, seen adapter.ImportJob) error {
	failures, err := i.failures(ctx, seen)
	if err != nil {
		return err
	}
	if seen.Errors > 0 && len(failures) == 0 {
		return fmt.Errorf("job %s reports %d errors, but its file of errors cannot be had: see it in SaaSquatch's portal", seen.ID, seen.Errors)
	}
	if j.state.Base == nil {
		base, err := i.findBase(ctx, j, seen, failures)
		if err != nil {
			return err
		}
		j.state.Base = &base
		if err := i.put(ctx, j); err != nil {
			return err
		}
	}
	byLine := make(map[int64]*adapter.RecordError, len(failures))
	for k := range failures {
		byLine[failures[k].Record-int64(*j.state.Base)] = &failures[k]
	}
	before, err := j.state.Before.times()
	if err != nil {
		return err
	}
	var leaves leaving
	delivered := adapter.Step{Outcome: adapter.Delivered, Counted: true, Began: j.state.Began, At: i.Now()}
	err = i.settleAll(ctx, j, func(line int, event *adapter.Leased) (adapter.Step, bool) {
		failure := byLine[int64(line)]
		if failure == nil {
			return delivered, true
		}
		step := delivered
		step.Detail, step.Status = codes(failure), failure.StatusCode
		times := before[event.ID] + 1
		i.judge(j, event, failure, times, &step)
		if step.Outcome == adapter.Pending {
			leaves.add(event.ID, times, step.Ambiguous)
			return step, false
		}
		return step, true
	})
	if err != nil {
		return err
	}
	j.state.Stage, j.state.Status, j.state.Left = stageSettled, adapter.JobCompleted.String(), leaves.left(j)
	j.state.Failed = int64(len(failures))
	return i.put(ctx, j)
}

// failures downloads the errors of a job.
func (i *importing) failures(ctx context.Context, seen adapter.ImportJob) (failures []adapter.RecordError, err error) {
	err = i.call(ctx, func() error {
		failures = failures[:0]
		for failure, err := range i.importer.DownloadErrors(ctx, seen) {
			if err != nil {
				return err
			}
			failures = append(failures, failure)
		}
		return nil
	})
	if errors.Is(err, adapter.ErrNoFile) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", seen.ID, err)
	}
	return failures, nil
}

// judge says what a record means for its event that so many jobs have refused. The event
// is pending if the next job is to have it.
func (i *importing) judge(j *job, event *adapter.Leased, failure *adapter.RecordError, times int, step *adapter.Step) {
	keyed := event.Keyed
	attempt := saasquatch.ClassifyRecord(failure, keyed)
	step.Outcome, step.Reason = attempt.Outcome, attempt.Reason
	switch {
	case attempt.Reason == mapping.ReasonConflict && (times > 1 || !j.state.Ambiguous.IsZero()):
		step.Reason = mapping.ReasonConflictAfterFailure
	case attempt.Outcome != adapter.Pending:
	case !attempt.Unprocessed && !keyed && i.UnkeyedDead:
		step.Outcome, step.Reason, step.Ambiguous = adapter.Dead, mapping.ReasonUnkeyedAmbiguous, true
		step.Detail += ": SaaSquatch may have processed it, and an event without an idempotency key is not sent twice"
	default:
		step.Ambiguous = !attempt.Unprocessed
		if times >= maxRefused {
			step.Outcome = adapter.Dead
			step.Detail += fmt.Sprintf(", refused in %d jobs", times)
		}
	}
}

// codes describes a failed record without its message, which may quote the user.
func codes(failure *adapter.RecordError) string {
	text := fmt.Sprintf("import record %d: HTTP %d", failure.Record, failure.StatusCode)
	for _, code := range []string{failure.APIErrorCode, failure.RSCode} {
		if code != "" {
			text += " " + code
		}
	}
	return text
}

// settlers is how many outcomes are recorded at once.
const settlers = 64

// settleAll records the outcome that fn gives for each event of the job that has
// none yet; ok is false for an event to leave as it is.
func (i *importing) settleAll(ctx context.Context, j *job, fn func(line int, event *adapter.Leased) (step adapter.Step, ok bool)) error {
	type settlement struct {
		event adapter.Leased
		step  adapter.Step
	}
	todo := make(chan settlement)
	var first error
	var failing sync.Mutex
	var workers sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range settlers {
		workers.Go(func() {
			for s := range todo {
				if err := i.settle(ctx, &s.event, s.step); err != nil {
					failing.Lock()
					if first == nil {
						first = err
					}
					failing.Unlock()
					cancel()
				}
			}
		})
	}
	err := i.eachHeld(ctx, j, func(line int, event *adapter.Leased) error {
		step, ok := fn(line, event)
		if !ok {
			return nil
		}
		todo <- settlement{*event, step}
		return ctx.Err()
	})
	close(todo)
	workers.Wait()
	if first != nil {
		return first
	}
	return err
}

// giveUp makes all events of the job that have no outcome dead letters.
func (i *importing) giveUp(ctx context.Context, j *job, reason mapping.Reason, detail string) error {
	failed := int64(0)
	err := i.settleAll(ctx, j, func(_ int, event *adapter.Leased) (adapter.Step, bool) {
		failed++
		return adapter.Step{Outcome: adapter.Dead, Reason: reason, Detail: detail, Counted: true, Ambiguous: true, Began: j.state.Began, At: i.Now()}, true
	})
	if err != nil {
		return err
	}
	j.state.Stage, j.state.Failed = stageSettled, failed
	return i.put(ctx, j)
}

// giveUpUnkeyed makes those dead letters that would be imported twice if a job has
// processed them.
func (i *importing) giveUpUnkeyed(ctx context.Context, j *job) error {
	return i.settleAll(ctx, j, func(_ int, event *adapter.Leased) (adapter.Step, bool) {
		return adapter.Step{
			Outcome: adapter.Dead, Reason: mapping.ReasonUnkeyedAmbiguous, Counted: true, Ambiguous: true, Began: j.state.Began, At: i.Now(),
			Detail: "an import job may have processed it, and an event without an idempotency key is not sent twice",
		}, !event.Keyed
	})
}
