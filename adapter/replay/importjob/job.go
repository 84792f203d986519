package importjob

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/mapping"
)

// stage is the stage of an import job.
type stage string

const (
	// stagePrepared: the events of the file are fixed. Upload and validation may be repeated without effect.
	stagePrepared stage = "prepared"
	// stageCreating: the job is about to be created. After a crash at this stage it is unknown whether it exists.
	stageCreating stage = "creating"
	// stageCreated: the job exists and has an id.
	stageCreated stage = "created"
	// stageSettled: every event has its outcome, or is left to the next job.
	stageSettled stage = "settled"
)

// maxAborted is the number of jobs that are created for one file if SaaSquatch aborts them.
const maxAborted = 3

// job is an import job of a run. If SaaSquatch aborts it, the next one with the same events takes its place.
type job struct {
	number          int
	firstID, lastID int64
	ids             []int64 // of the events, in the order of the file's lines
	fresh           int     // events that no job had before; known at the preparation only
	textBytes       int64   // of the payloads of those
	doubts          int     // how often it was unknown to this process whether the job exists
	state           jobState
}

// jobState is the part of a job that the store keeps.
type jobState struct {
	Stage stage `json:"stage"`
	// JobID is SaaSquatch's, empty before the job exists.
	JobID string `json:"job_id,omitempty"`
	// Ambiguous is the start of the first job that may have processed events without a recorded outcome; zero if
	// there was none.
	Ambiguous time.Time `json:"ambiguous,omitzero"`
	// Aborted is the number of jobs that SaaSquatch has aborted.
	Aborted int `json:"aborted,omitempty"`
	// Began is the start of the last job.
	Began time.Time `json:"began,omitzero"`
	// Status is the last job's at its end. Failed is the number of its failed events.
	Status string `json:"status,omitempty"`
	Failed int64  `json:"failed,omitempty"`
	// Base is SaaSquatch's number of the first record in a file, nil until it is known.
	Base *int `json:"base,omitempty"`
	// IDs are the packed ids of the events.
	IDs []byte `json:"ids"`
	// Before is the leftover of the job before this one, Left the leftover of this one; nil for none.
	Before *leftover `json:"before,omitempty"`
	Left   *leftover `json:"left,omitempty"`
}

func parseJob(stored adapter.RunJob) (*job, error) {
	j := &job{number: stored.Number, firstID: stored.First, lastID: stored.Last}
	err := json.Unmarshal(stored.State, &j.state)
	if err == nil {
		j.ids, err = unpackIDs(j.state.IDs)
	}
	for _, l := range []*leftover{j.state.Before, j.state.Left} {
		if err == nil {
			_, err = l.times()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read import job %d: %w", stored.Number, err)
	}
	return j, nil
}

// Reports describes the jobs of a run.
func Reports(jobs []adapter.RunJob) (reports []replay.JobReport, err error) {
	for _, stored := range jobs {
		j, err := parseJob(stored)
		if err != nil {
			return nil, err
		}
		s := &j.state
		report := replay.JobReport{ID: s.JobID, Status: s.Status, Events: int64(len(j.ids)), Failed: s.Failed}
		if s.Stage != stageSettled {
			report.Status = adapter.JobPending.String()
		}
		reports = append(reports, report)
	}
	return reports, nil
}

func (r *runner) put(ctx context.Context, j *job) error {
	if j.state.IDs == nil {
		j.state.IDs = packIDs(j.ids)
	}
	state, err := json.Marshal(&j.state)
	if err != nil {
		return fmt.Errorf("write import job %d: %w", j.number, err)
	}
	stored := adapter.RunJob{Number: j.number, First: j.firstID, Last: j.lastID, State: state}
	return r.retryStore(ctx, func() error { return r.store.PutJob(ctx, r.run, stored) })
}

func (r *runner) process(ctx context.Context, j *job) (err error) {
	defer r.Progress.SetJob("")
	for err == nil {
		switch j.state.Stage {
		case stagePrepared:
			err = r.create(ctx, j)
		case stageCreating:
			err = r.doubt(ctx, j)
		case stageCreated:
			err = r.follow(ctx, j)
		case stageSettled:
			return nil
		default:
			return fmt.Errorf("its stage is %q, which this program does not know: "+
				"run the version that wrote it, or a newer one", j.state.Stage)
		}
	}
	return err
}

func (r *runner) create(ctx context.Context, j *job) error {
	if over, err := r.expired(ctx, j); over || err != nil {
		return err
	}
	label := "import job " + strconv.Itoa(j.number)
	r.Progress.SetJob(label + ": upload")
	file, size, err := r.writeFile(ctx, j)
	if err != nil {
		return fmt.Errorf("write the file: %w", err)
	}
	defer func() { _ = file.Close() }() // without a name it is gone even if this fails
	if len(j.ids) == 0 {                // all of them have their outcomes
		j.state.Stage = stageSettled
		return r.put(ctx, j)
	}
	name := fmt.Sprintf("userEvents_%d_%d.jsonl", r.run.ID, j.number)
	open := func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(file, 0, size)), nil }
	input := adapter.JobInput{
		Type:     adapter.JobTypeUserEvents,
		Name:     fmt.Sprintf("segment-saasquatch replay %d, file %d", r.run.ID, j.number),
		Programs: r.spec.FirePrograms,
		Webhooks: r.spec.FirePrograms,
	}
	err = r.call(ctx, func() (err error) {
		input.FileRef, err = r.importer.Upload(ctx, name, size, open)
		return err
	})
	if err != nil {
		return err
	}
	r.Progress.SetJob(label + ": validation")
	var faults []string
	err = r.call(ctx, func() (err error) {
		faults, err = r.importer.ValidateJob(ctx, input)
		return err
	})
	switch {
	case err != nil:
		return err
	case len(faults) > 0:
		return &InvalidFileError{Faults: faults}
	}
	if r.over(j.state.Ambiguous) || j.state.Before != nil && r.over(j.state.Before.Ambiguous) {
		return nil // events have expired meanwhile: the next call gives them up first
	}
	r.Progress.SetJob(label + ": creation")
	j.state.Stage, j.state.Began, j.state.Base = stageCreating, r.Now(), nil
	if err := r.put(ctx, j); err != nil {
		return err
	}
	// The end of ctx must not cancel this call, or it would be unknown whether the job exists.
	created, err := r.importer.CreateJob(context.WithoutCancel(ctx), input)
	var failure *adapter.APIError
	switch {
	case err == nil:
		j.state.Stage, j.state.JobID = stageCreated, created.ID
		return r.put(context.WithoutCancel(ctx), j)
	case errors.As(err, &failure) && !failure.Ambiguous():
		j.state.Stage = stagePrepared
		if err := r.put(ctx, j); err != nil {
			return err
		}
		if !failure.Retryable || ctx.Err() != nil {
			return failure
		}
		return r.Progress.Wait(ctx, failure.Error(), max(backoff.Base, min(failure.RetryAfter, backoff.Max)))
	default: // the stage says that there may be a job
		j.doubts++
		why := "another try: a job may have been created: " + err.Error()
		return r.Progress.Wait(ctx, why, min(r.Poll<<min(j.doubts, 16), maxWait))
	}
}

// maxWait is the longest wait before another job, after one of unknown fate or one that refused records.
const maxWait = 5 * time.Minute

// InvalidFileError means that SaaSquatch refuses to import a file.
type InvalidFileError struct{ Faults []string }

func (e *InvalidFileError) Error() string {
	return fmt.Sprintf("SaaSquatch refuses the file: %q", e.Faults)
}

// doubt prepares a job again if a job may have processed its events: SaaSquatch still knows their keys.
func (r *runner) doubt(ctx context.Context, j *job) error {
	if j.state.Ambiguous.IsZero() {
		j.state.Ambiguous = j.state.Began
	}
	j.state.JobID = ""
	if r.UnkeyedDead && !r.over(j.state.Ambiguous) {
		if err := r.giveUpUnkeyed(ctx, j); err != nil {
			return err
		}
	}
	j.state.Stage = stagePrepared
	return r.put(ctx, j)
}

func (r *runner) follow(ctx context.Context, j *job) error {
	for poll := r.Poll; ; poll = min(poll*3/2, 10*r.Poll) {
		var remote adapter.ImportJob
		err := r.call(ctx, func() (err error) {
			remote, err = r.importer.Job(ctx, j.state.JobID)
			return err
		})
		if err != nil {
			return fmt.Errorf("look at job %s: %w", j.state.JobID, err)
		}
		r.Progress.SetJob(fmt.Sprintf("import job %d: %d of %d events, %d errors",
			j.number, remote.RecordsProcessed, len(j.ids), remote.Errors))
		switch remote.Status {
		case adapter.JobCompleted:
			return r.complete(ctx, j, remote)
		case adapter.JobAborted:
			return r.aborted(ctx, j)
		}
		if err := adapter.Wait(ctx, poll); err != nil {
			return err
		}
	}
}

// aborted creates another job for the events of an aborted one, or gives them up.
func (r *runner) aborted(ctx context.Context, j *job) error {
	j.state.Aborted++
	j.state.Status = adapter.JobAborted.String()
	if j.state.Aborted >= maxAborted {
		return r.giveUp(ctx, j, mapping.ReasonImportAborted,
			fmt.Sprintf("SaaSquatch gave up %d import jobs, the last of them %s", j.state.Aborted, j.state.JobID))
	}
	j.state.Stage = stageCreating // as after a crash, it may have processed some events
	return r.put(ctx, j)
}
