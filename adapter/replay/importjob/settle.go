package importjob

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/saasquatch"
	"segment-saasquatch/mapping"
)

func (r *runner) complete(ctx context.Context, j *job, remote adapter.ImportJob) error {
	failures, err := download(ctx, r, remote, r.importer.DownloadErrors,
		func(all []adapter.RecordError, failure adapter.RecordError) []adapter.RecordError {
			return append(all, failure)
		})
	if err != nil {
		return err
	}
	if remote.Errors > 0 && len(failures) == 0 {
		return fmt.Errorf("job %s reports %d errors, but its file of errors cannot be had: "+
			"see it in SaaSquatch's portal", remote.ID, remote.Errors)
	}
	if j.state.Base == nil {
		base, err := r.findBase(ctx, j, remote, failures)
		if err != nil {
			return err
		}
		j.state.Base = &base
		if err := r.put(ctx, j); err != nil {
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
	var refused [maxRefused - 1][]int64
	ambiguous := false
	delivered := adapter.Step{Outcome: adapter.Delivered, Counted: true, Began: j.state.Began, At: r.Now()}
	err = r.settleAll(ctx, j, func(line int, event *adapter.Leased) (adapter.Step, bool) {
		failure := byLine[int64(line)]
		if failure == nil {
			return delivered, true
		}
		step := delivered
		step.Detail, step.Status = codes(failure), failure.StatusCode
		times := before[event.ID] + 1
		r.judge(j, event, failure, times, &step)
		if step.Outcome == adapter.Pending {
			refused[times-1] = append(refused[times-1], event.ID)
			ambiguous = ambiguous || step.Ambiguous
			return step, false
		}
		return step, true
	})
	if err != nil {
		return err
	}
	j.state.Stage, j.state.Status = stageSettled, adapter.JobCompleted.String()
	j.state.Left, j.state.Failed = newLeftover(j, refused, ambiguous), int64(len(failures))
	return r.put(ctx, j)
}

// judge sets the outcome of an event by its failed record. Times is the number of jobs that have refused it. A pending
// event goes to the next job.
func (r *runner) judge(j *job, event *adapter.Leased, failure *adapter.RecordError, times int, step *adapter.Step) {
	keyed := event.Keyed
	attempt := saasquatch.ClassifyRecord(failure, keyed)
	step.Outcome, step.Reason = attempt.Outcome, attempt.Reason
	switch {
	case attempt.Reason == mapping.ReasonConflict && (times > 1 || !j.state.Ambiguous.IsZero()):
		step.Reason = mapping.ReasonConflictAfterFailure
	case attempt.Outcome != adapter.Pending:
	case !attempt.Unprocessed && !keyed && r.UnkeyedDead:
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

// maxSettling is the number of outcomes that are recorded at once.
const maxSettling = 64

// settleAll records the outcome from fn for each event of the job without one. If ok is false it records none.
func (r *runner) settleAll(
	ctx context.Context, j *job, fn func(line int, event *adapter.Leased) (step adapter.Step, ok bool),
) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxSettling)
	err := r.eachHeld(ctx, j, func(line int, event *adapter.Leased) error {
		if step, ok := fn(line, event); ok {
			group.Go(func() error { return r.settle(ctx, event, step) })
		}
		return ctx.Err()
	})
	if settleErr := group.Wait(); settleErr != nil {
		return settleErr
	}
	return err
}

// dead is the outcome of an event that a job may have processed.
func (r *runner) dead(j *job, reason mapping.Reason, detail string) adapter.Step {
	return adapter.Step{
		Outcome: adapter.Dead, Reason: reason, Detail: detail,
		Counted: true, Ambiguous: true, Began: j.state.Began, At: r.Now(),
	}
}

// giveUp makes dead letters of all events of the job without an outcome.
func (r *runner) giveUp(ctx context.Context, j *job, reason mapping.Reason, detail string) error {
	failed, dead := int64(0), r.dead(j, reason, detail)
	err := r.settleAll(ctx, j, func(int, *adapter.Leased) (adapter.Step, bool) {
		failed++
		return dead, true
	})
	if err != nil {
		return err
	}
	j.state.Stage, j.state.Failed = stageSettled, failed
	return r.put(ctx, j)
}

// giveUpUnkeyed makes dead letters of the events that another job could import twice.
func (r *runner) giveUpUnkeyed(ctx context.Context, j *job) error {
	dead := r.dead(j, mapping.ReasonUnkeyedAmbiguous,
		"an import job may have processed it, and an event without an idempotency key is not sent twice")
	return r.settleAll(ctx, j, func(_ int, event *adapter.Leased) (adapter.Step, bool) { return dead, !event.Keyed })
}
