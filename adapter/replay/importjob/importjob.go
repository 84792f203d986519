// Package importjob replays Segment archives through SaaSquatch's bulk import jobs.
//
//	replay.Hold ──► held events ──► files of import lines ──► jobs, one at a time ──► outcomes
//
// A store keeps the stage of each job, so a run can end at any time and resumes at that stage.
package importjob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/replay"
)

// Importer sends files of user events to SaaSquatch for import. Each call is one attempt.
type Importer interface {
	Upload(ctx context.Context, name string, size int64, open func() (io.ReadCloser, error)) (fileRef string, _ error)
	ValidateJob(ctx context.Context, input adapter.JobInput) (faults []string, err error)
	CreateJob(ctx context.Context, input adapter.JobInput) (adapter.ImportJob, error)
	Job(ctx context.Context, id string) (adapter.ImportJob, error)
	DownloadErrors(ctx context.Context, job adapter.ImportJob) iter.Seq2[adapter.RecordError, error]
	DownloadResults(ctx context.Context, job adapter.ImportJob) iter.Seq2[adapter.ImportedEvent, error]
}

// Options are the choices of a replay by import jobs.
type Options struct {
	replay.Options
	replay.FileLimits
	// Poll is the first interval between two looks at a job. Default: 2 s.
	Poll time.Duration
	// Horizon is how long after a job of unknown fate its events may be imported again: SaaSquatch forgets
	// idempotency keys after 24 h. Default: 23 h.
	Horizon time.Duration
	// UnkeyedDead gives up events without an idempotency key once a job may have processed them. Otherwise they
	// may be imported twice. Default: false.
	UnkeyedDead bool
}

func (o Options) withDefaults() Options {
	o.Options, o.FileLimits = o.Options.WithDefaults(), o.FileLimits.WithDefaults()
	o.Poll, o.Horizon = cmp.Or(o.Poll, 2*time.Second), cmp.Or(o.Horizon, adapter.DefaultHorizon)
	return o
}

// Run reads the blocks of a run, holds their events in the store, and makes SaaSquatch import them, a file at a time.
// It records the outcome of every event when its job has ended. The objects are the run's checkpoints. If ctx ends
// first, Run returns the error of ctx, and the run can be resumed.
//
// An event with an idempotency key is imported once, even if a job or this process fails: a file is only sent again
// while SaaSquatch knows the keys.
func Run(
	ctx context.Context, store adapter.ImportStore, run *adapter.Run, objects []adapter.ObjectProgress,
	importer Importer, blocks replay.Blocks, opts Options,
) error {
	spec, err := replay.ParseSpec(run.Spec)
	if err != nil {
		return err
	}
	r := &runner{Options: opts.withDefaults(), store: store, run: run, spec: spec, importer: importer}
	if err := r.resume(ctx); err != nil {
		return err
	}
	if err := replay.Hold(ctx, store, run, objects, blocks, r.Options.Options, r); err != nil {
		return err
	}
	for {
		more, err := r.importHeld(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// runner works on one run. It is the replay.Admission that keeps held events below the size of a file.
type runner struct {
	Options
	store    adapter.ImportStore
	run      *adapter.Run
	spec     *replay.Spec
	importer Importer

	number int       // of the last job
	last   int64     // id of the last event that has a job
	left   *leftover // of the last job
	// heldLines and heldBytes measure the held events without a job.
	heldLines int
	heldBytes int64
}

func (r *runner) resume(ctx context.Context) error {
	var jobs []adapter.RunJob
	err := r.retryStore(ctx, func() (err error) {
		jobs, err = r.store.Jobs(ctx, r.run)
		return err
	})
	if err != nil {
		return err
	}
	for _, stored := range jobs {
		job, err := parseJob(stored)
		if err != nil {
			return err
		}
		if err := r.work(ctx, job); err != nil {
			return err
		}
	}
	// The events held for the next job count, so that they do not outgrow a file.
	for event, err := range r.heldAfter(ctx, r.last) {
		if err != nil {
			return err
		}
		r.heldLines++
		r.heldBytes += int64(len(event.Payload))
	}
	return nil
}

// pageEvents and pageBytes limit a page of held events, and the bytes of its payloads.
const (
	pageEvents = 1000
	pageBytes  = 16 << 20
)

// heldAfter yields the held events of the run after an id, in their order. It ends with the first error.
func (r *runner) heldAfter(ctx context.Context, after int64) iter.Seq2[*adapter.Leased, error] {
	return func(yield func(*adapter.Leased, error) bool) {
		for {
			var page []adapter.Leased
			err := r.retryStore(ctx, func() (err error) {
				page, err = r.store.Held(ctx, r.run, after, pageEvents, pageBytes)
				return err
			})
			if err != nil {
				yield(nil, err)
			}
			if err != nil || len(page) == 0 {
				return
			}
			for k := range page {
				if !yield(&page[k], nil) {
					return
				}
			}
			after = page[len(page)-1].ID
		}
	}
}

func (r *runner) retryStore(ctx context.Context, do func() error) error {
	return replay.RetryStore(ctx, r.Progress, do)
}

// Room imports the held events if they fill a file, and returns how many more fit into the next file.
func (r *runner) Room(ctx context.Context) (int, error) {
	for r.heldLines >= r.MaxLines || r.heldBytes >= r.MaxBytes {
		if _, err := r.importHeld(ctx); err != nil {
			return 0, err
		}
	}
	return r.MaxLines - r.heldLines, nil
}

func (r *runner) Stored(_ context.Context, events int, bytes int64) error {
	r.heldLines += events
	r.heldBytes += bytes
	return nil
}

// importHeld imports held events, at most a file of them, and reports whether there were any.
func (r *runner) importHeld(ctx context.Context) (bool, error) {
	job, err := r.prepare(ctx)
	if err != nil || job == nil {
		return false, err
	}
	r.heldLines, r.heldBytes = max(0, r.heldLines-job.fresh), max(0, r.heldBytes-job.textBytes)
	return true, r.work(ctx, job)
}

func (r *runner) work(ctx context.Context, job *job) error {
	r.number, r.last = job.number, max(r.last, job.lastID)
	if err := r.process(ctx, job); err != nil {
		return fmt.Errorf("import job %d of the run: %w", job.number, err)
	}
	r.left = job.state.Left
	return nil
}

// backoff is the wait between attempts at a call to SaaSquatch.
var backoff = adapter.Backoff{Base: time.Second, Max: time.Minute}

// call repeats a call to SaaSquatch while its error is retryable.
func (r *runner) call(ctx context.Context, do func() error) error {
	for wait := backoff; ; {
		err := do()
		var failure *adapter.APIError
		if !errors.As(err, &failure) || !failure.Retryable || ctx.Err() != nil {
			return err
		}
		d := max(wait.Next(), min(failure.RetryAfter, wait.Max))
		if err := r.Progress.Wait(ctx, failure.Error(), d); err != nil {
			return err
		}
	}
}
