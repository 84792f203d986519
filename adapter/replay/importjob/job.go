package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// stage is how far an import job is.
type stage string

const (
	// stagePrepared: the events of the file are fixed. It is made, uploaded and
	// validated, any number of times: nothing comes of that.
	stagePrepared stage = "prepared"
	// stageCreating: the job is about to be made. If this is where a process ended,
	// nobody knows whether there is one.
	stageCreating stage = "creating"
	// stageCreated: there is a job, which has an id.
	stageCreated stage = "created"
	// stageSettled: every event has its outcome, or is left to the next job.
	stageSettled stage = "settled"
)

// maxAborted is how many jobs are made of a file that SaaSquatch gives up.
const maxAborted = 3

// job is one import job of a run, or several one after the other with the same
// events if SaaSquatch gives them up.
type job struct {
	number          int
	firstID, lastID int64
	ids             []int64 // of the events, in the order of the file's lines
	fresh           int     // how many of them no job had before; only at the preparation
	textBytes       int64   // of the payloads of those
	doubts          int     // how often this process could not tell whether there is a job
	state           jobState
}

// jobState is what the store keeps of a job.
type jobState struct {
	Stage stage `json:"stage"`
	// JobID is SaaSquatch's, empty before there is a job.
	JobID string `json:"job_id,omitempty"`
	// Ambiguous is when the first job was made, or may have been, that may have
	// processed events without our knowing; zero if there was none.
	Ambiguous time.Time `json:"ambiguous,omitzero"`
	// Aborted is how many jobs SaaSquatch has given up.
	Aborted int `json:"aborted,omitempty"`
	// Began is when the last job was made.
	Began time.Time `json:"began,omitzero"`
	// Status is the last job's at its end, and Failed how many of its events failed.
	Status string `json:"status,omitempty"`
	Failed int64  `json:"failed,omitempty"`
	// Base is the number of a file's first record in SaaSquatch's counting, nil until
	// it is known.
	Base *int `json:"base,omitempty"`
	// IDs are the packed ids of the events.
	IDs []byte `json:"ids"`
	// Before is what the job before this one has left to it, and Left what this one
	// leaves to the next; nil for nothing.
	Before *left `json:"before,omitempty"`
	Left   *left `json:"left,omitempty"`
}

// parseJob reads a job from the store.
func parseJob(stored adapter.RunJob) (*job, error) {
	j := &job{number: stored.Number, firstID: stored.First, lastID: stored.Last}
	if err := json.Unmarshal(stored.State, &j.state); err != nil {
		return nil, damagedJob(stored.Number, err)
	}
	var err error
	if j.ids, err = unpackIDs(j.state.IDs); err != nil {
		return nil, damagedJob(stored.Number, err)
	}
	for _, l := range []*left{j.state.Before, j.state.Left} {
		if _, err := l.ids(); err != nil {
			return nil, damagedJob(stored.Number, err)
		}
	}
	return j, nil
}

// put records where the job is at.
func (i *importing) put(ctx context.Context, j *job) error {
	if j.state.IDs == nil {
		j.state.IDs = packIDs(j.ids)
	}
	state, err := json.Marshal(&j.state)
	if err != nil {
		return fmt.Errorf("write import job %d: %w", j.number, err)
	}
	return retry(ctx, i.Progress, func() error {
		return i.imports.PutJob(ctx, i.run, adapter.RunJob{Number: j.number, First: j.firstID, Last: j.lastID, State: state})
	})
}

// process takes a job from where it is at to its end.
func (i *importing) process(ctx context.Context, j *job) error {
	defer i.showJob("")
	for {
		switch j.state.Stage {
		case stagePrepared:
			if err := i.create(ctx, j); err != nil {
				return err
			}
		case stageCreating:
			if err := i.doubt(ctx, j); err != nil {
				return err
			}
		case stageCreated:
			if err := i.follow(ctx, j); err != nil {
				return err
			}
		case stageSettled:
			return nil
		default:
			return fmt.Errorf("its stage is %q, which this program does not know: run the version that wrote it, or a newer one", j.state.Stage)
		}
	}
}

func (i *importing) showJob(text string) { i.Progress.update(func(s *Snapshot) { s.Job = text }) }

// input describes the job to SaaSquatch.
func (i *importing) input(j *job, fileRef string) adapter.JobInput {
	return adapter.JobInput{
		Type:     adapter.JobTypeUserEvents,
		Name:     "segment-saasquatch replay " + strconv.FormatInt(i.run.ID, 10) + ", file " + strconv.Itoa(j.number),
		FileRef:  fileRef,
		Programs: i.spec.FirePrograms,
		Webhooks: i.spec.FirePrograms,
	}
}

// create uploads the file and makes a job of it.
func (i *importing) create(ctx context.Context, j *job) error {
	if over, err := i.expired(ctx, j); over || err != nil {
		return err
	}
	label := "import job " + strconv.Itoa(j.number)
	i.showJob(label + ": upload")
	file, err := i.writeFile(ctx, j)
	if err != nil {
		return fmt.Errorf("write the file: %w", err)
	}
	defer file.close()
	if len(j.ids) == 0 { // all of them have their outcomes
		j.state.Stage = stageSettled
		return i.put(ctx, j)
	}
	var fileRef string
	err = i.call(ctx, func() (err error) {
		fileRef, err = i.importer.Upload(ctx, fmt.Sprintf("userEvents_%d_%d.jsonl", i.run.ID, j.number), file.size, file.open)
		return err
	})
	if err != nil {
		return err
	}
	input := i.input(j, fileRef)
	i.showJob(label + ": validation")
	var faults []string
	err = i.call(ctx, func() (err error) {
		faults, err = i.importer.ValidateJob(ctx, input)
		return err
	})
	switch {
	case err != nil:
		return err
	case len(faults) > 0:
		return &InvalidFileError{Faults: faults}
	}
	if i.over(j.state.Ambiguous) || j.state.Before != nil && i.over(j.state.Before.Ambiguous) {
		return nil // it has taken too long: what expired meanwhile is given up first
	}
	i.showJob(label + ": creation")
	j.state.Stage, j.state.Began, j.state.Base = stageCreating, i.Now(), nil
	if err := i.put(ctx, j); err != nil {
		return err
	}
	// Not cut short by ctx, or nobody would know whether there is a job.
	created, err := i.importer.CreateJob(context.WithoutCancel(ctx), input)
	var failure *adapter.APIError
	switch {
	case err == nil:
		j.state.Stage, j.state.JobID = stageCreated, created.ID
		return i.put(context.WithoutCancel(ctx), j)
	case errors.As(err, &failure) && !failure.Ambiguous():
		j.state.Stage = stagePrepared
		if err := i.put(ctx, j); err != nil {
			return err
		}
		if !failure.Retryable || ctx.Err() != nil {
			return failure
		}
		return i.rest(ctx, failure.Error(), max(callRest.Base, min(failure.RetryAfter, callRest.Max)))
	default: // the stage says that there may be a job
		j.doubts++
		return i.rest(ctx, "another try: a job may have been created: "+err.Error(), min(i.Poll<<min(j.doubts, 16), maxDoubtRest))
	}
}

// maxDoubtRest is the longest rest before a file is uploaded again of which nobody
// knows whether there is a job.
const maxDoubtRest = 5 * time.Minute

// InvalidFileError means that SaaSquatch refuses to import a file.
type InvalidFileError struct{ Faults []string }

func (e *InvalidFileError) Error() string {
	return fmt.Sprintf("SaaSquatch refuses the file: %q", e.Faults)
}

// doubt decides what becomes of events of which nobody knows whether a job has
// processed them: they are imported again while SaaSquatch knows their keys.
func (i *importing) doubt(ctx context.Context, j *job) error {
	if j.state.Ambiguous.IsZero() {
		j.state.Ambiguous = j.state.Began
	}
	j.state.JobID = ""
	if i.UnkeyedDead && !i.over(j.state.Ambiguous) {
		if err := i.giveUpUnkeyed(ctx, j); err != nil {
			return err
		}
	}
	j.state.Stage = stagePrepared
	return i.put(ctx, j)
}

// follow looks at the job until it has ended, and records what came of it.
func (i *importing) follow(ctx context.Context, j *job) error {
	for poll := i.Poll; ; poll = min(poll*3/2, 10*i.Poll) {
		var seen adapter.ImportJob
		err := i.call(ctx, func() (err error) {
			seen, err = i.importer.Job(ctx, j.state.JobID)
			return err
		})
		if err != nil {
			return fmt.Errorf("look at job %s: %w", j.state.JobID, err)
		}
		i.showJob(fmt.Sprintf("import job %d: %d of %d events, %d errors", j.number, seen.RecordsProcessed, len(j.ids), seen.Errors))
		switch seen.Status {
		case adapter.JobCompleted:
			return i.complete(ctx, j, seen)
		case adapter.JobAborted:
			return i.aborted(ctx, j)
		}
		if err := adapter.Wait(ctx, poll); err != nil {
			return err
		}
	}
}

// aborted has the events of a job that SaaSquatch has given up imported by another.
func (i *importing) aborted(ctx context.Context, j *job) error {
	j.state.Aborted++
	j.state.Status = adapter.JobAborted.String()
	if j.state.Aborted >= maxAborted {
		return i.giveUp(ctx, j, mapping.ReasonImportAborted, fmt.Sprintf("SaaSquatch gave %d import jobs up, the last of them %s", j.state.Aborted, j.state.JobID))
	}
	j.state.Stage = stageCreating // as much is known: it may have processed some of them
	return i.put(ctx, j)
}
