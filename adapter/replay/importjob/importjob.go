package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"segment-saasquatch/adapter"
)

// Importer has SaaSquatch import files of user events. Each call is one attempt.
type Importer interface {
	Upload(ctx context.Context, name string, size int64, open func() (io.ReadCloser, error)) (fileRef string, err error)
	ValidateJob(ctx context.Context, input adapter.JobInput) (faults []string, err error)
	CreateJob(ctx context.Context, input adapter.JobInput) (adapter.ImportJob, error)
	Job(ctx context.Context, id string) (adapter.ImportJob, error)
	DownloadErrors(ctx context.Context, job adapter.ImportJob) iter.Seq2[adapter.RecordError, error]
	DownloadResults(ctx context.Context, job adapter.ImportJob) iter.Seq2[adapter.ImportedEvent, error]
}

// ImportOptions are the choices of a replay by import jobs.
type ImportOptions struct {
	Options
	// MaxLines and MaxBytes bound a file. Default: 500 000 lines and 100 MB, which
	// SaaSquatch publishes for its guides and for uploads by SFTP.
	MaxLines int
	MaxBytes int64
	// Dir is where files are kept until they are uploaded. Default: that of the
	// system for temporary files.
	Dir string
	// Poll is how often a job under way is looked at. Default: 2 s.
	Poll time.Duration
	// Horizon is how long after a job of unknown fate its events may be imported
	// again, since SaaSquatch forgets idempotency keys after 24 h. Default: 23 h.
	Horizon time.Duration
	// UnkeyedDead gives events without an idempotency key up, once a job may have
	// processed them, instead of risking to import them twice. Default: false.
	UnkeyedDead bool
}

// Limits of a file of import lines.
const (
	MaxImportLines = 500_000
	MaxImportBytes = 100_000_000
)

func (o ImportOptions) withDefaults() ImportOptions {
	o.Options = o.Options.withDefaults()
	if o.MaxLines <= 0 {
		o.MaxLines = MaxImportLines
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = MaxImportBytes
	}
	if o.Poll <= 0 {
		o.Poll = 2 * time.Second
	}
	if o.Horizon <= 0 {
		o.Horizon = adapter.DefaultHorizon
	}
	return o
}

// Import reads the blocks of a run, which has come so far with its objects, holds
// their events in the store, and has SaaSquatch import them, a file at a time. The
// outcome of every event is recorded once its job has ended. If ctx ends before
// that, it returns the error of ctx, and the run can be resumed.
//
// An event with an idempotency key is imported once, whatever becomes of a job and
// of this process: a file is only sent again while SaaSquatch knows the keys.
func Import(ctx context.Context, imports adapter.ImportStore, run *adapter.Run, objects []adapter.ObjectProgress, importer Importer, blocks Blocks, opts ImportOptions) error {
	spec, err := ParseSpec(run.Spec)
	if err != nil {
		return err
	}
	i := &importing{ImportOptions: opts.withDefaults(), imports: imports, run: run, spec: spec, importer: importer}
	if err := i.resume(ctx); err != nil {
		return err
	}
	s := &storing{Options: i.Options, replays: imports, run: run, spec: spec, held: true, room: i.room, took: i.took, size: i.size, stdin: newStdin(objects)}
	if err := s.read(ctx, blocks); err != nil {
		return err
	}
	for {
		more, err := i.importHeld(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// importing is one replay by import jobs.
type importing struct {
	ImportOptions
	imports  adapter.ImportStore
	run      *adapter.Run
	spec     *Spec
	importer Importer

	number int   // of the last job
	last   int64 // id of the last event that has a job
	left   *left // what the last job leaves to the next, nil for nothing
	// heldLines and heldBytes are what is held and has no job yet.
	heldLines int
	heldBytes int64
}

// resume goes on with the jobs that the run has.
func (i *importing) resume(ctx context.Context) error {
	var jobs []adapter.RunJob
	err := retry(ctx, i.Progress, func() (err error) {
		jobs, err = i.imports.Jobs(ctx, i.run)
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
		if err := i.work(ctx, job); err != nil {
			return err
		}
	}
	// What was held for the next job is counted again, so that it does not grow
	// beyond a file.
	for after := i.last; ; {
		held, err := i.heldAfter(ctx, after)
		if err != nil || len(held) == 0 {
			return err
		}
		for k := range held {
			i.heldLines++
			i.heldBytes += int64(len(held[k].Payload))
		}
		after = held[len(held)-1].ID
	}
}

// Pages of held events, in number and bytes of payload.
const (
	heldPage  = 1000
	heldBytes = 16 << 20
)

func (i *importing) heldAfter(ctx context.Context, after int64) (held []adapter.Leased, err error) {
	err = retry(ctx, i.Progress, func() (err error) {
		held, err = i.imports.Held(ctx, i.run, after, heldPage, heldBytes)
		return err
	})
	return held, err
}

// room returns how many events more go into the next file. When it is full it is
// imported first.
func (i *importing) room(ctx context.Context) (int, error) {
	for i.heldLines >= i.MaxLines || i.heldBytes >= i.MaxBytes {
		if _, err := i.importHeld(ctx); err != nil {
			return 0, err
		}
	}
	return min(maxBatch, i.MaxLines-i.heldLines), nil
}

// took counts events that are held now.
func (i *importing) took(_ context.Context, events int) error {
	i.heldLines += events
	return nil
}

// size is told the size of an event that is held now.
func (i *importing) size(bytes int) { i.heldBytes += int64(bytes) }

// importHeld imports what is held, as far as it goes into a file, and reports
// whether there was anything.
func (i *importing) importHeld(ctx context.Context) (bool, error) {
	job, err := i.prepare(ctx)
	if err != nil || job == nil {
		return false, err
	}
	i.heldLines, i.heldBytes = max(0, i.heldLines-job.fresh), max(0, i.heldBytes-job.textBytes)
	return true, i.work(ctx, job)
}

// work takes a job of the run to its end.
func (i *importing) work(ctx context.Context, job *job) error {
	i.number, i.last = job.number, max(i.last, job.lastID)
	if err := i.process(ctx, job); err != nil {
		return fmt.Errorf("import job %d of the run: %w", job.number, err)
	}
	i.left = job.state.Left
	return nil
}

// call repeats a call to SaaSquatch while that may help.
func (i *importing) call(ctx context.Context, do func() error) error {
	for rest := callRest; ; {
		err := do()
		var failure *adapter.APIError
		if !errors.As(err, &failure) || !failure.Retryable || ctx.Err() != nil {
			return err
		}
		if err := i.rest(ctx, failure.Error(), max(rest.Next(), min(failure.RetryAfter, callRest.Max))); err != nil {
			return err
		}
	}
}

// rest shows why another try has to wait, and waits.
func (i *importing) rest(ctx context.Context, why string, rest time.Duration) error {
	i.Progress.waiting(why)
	if err := adapter.Wait(ctx, rest); err != nil {
		return err
	}
	i.Progress.waiting("")
	return nil
}

// callRest is the rest between attempts at a call to SaaSquatch.
var callRest = adapter.Backoff{Base: time.Second, Max: time.Minute}
