package replay

import (
	"time"

	"segment-saasquatch/adapter"
)

// Report says what a replay did, or would do.
type Report struct {
	// Run is the number of the run, 0 for a dry run and for files that were only
	// written.
	Run int64 `json:"run,omitempty"`
	// DryRun says that nothing was sent or stored.
	DryRun bool `json:"dry_run,omitempty"`
	// Interrupted says that there is more to read or to deliver.
	Interrupted bool `json:"interrupted,omitempty"`
	Counts
	// Outcomes count all events. In a dry run those that would be sent are pending.
	Outcomes []adapter.Tally `json:"outcomes"`
	// First and Last are the times of the earliest and the latest event that the
	// mapping takes, nil if none has one.
	First *time.Time `json:"first,omitempty"`
	Last  *time.Time `json:"last,omitempty"`
	// Requests is how many requests a dry run would make.
	Requests int64 `json:"requests,omitempty"`
	// Estimate is how long they would take at the given rate, 0 if that is not known.
	Estimate time.Duration `json:"estimate_ns,omitempty"`
	// Faults are the objects that could not be read to their ends.
	Faults []adapter.ObjectProgress `json:"faults,omitempty"`
	// PassedOver is how many objects were not read, PassedOverFor which, by reason.
	PassedOver    int64        `json:"objects_passed_over"`
	PassedOverFor []PassedOver `json:"passed_over,omitempty"`
	// UserFiles says how many lines of the files of userIds matched no event.
	UserFiles []UserFileReport `json:"user_files,omitempty"`
	// Files are those of import lines that were written.
	Files []string `json:"files,omitempty"`
	// Jobs are the import jobs of the run.
	Jobs []JobReport `json:"jobs,omitempty"`
	// Took is how long it took, since the start or the last resumption.
	Took time.Duration `json:"took_ns"`
}

// JobReport is one import job of a run.
type JobReport struct {
	// ID is SaaSquatch's, empty while there is no job, or none is known of.
	ID string `json:"id,omitempty"`
	// Status is SaaSquatch's at the end of the job, PENDING before.
	Status string `json:"status"`
	// Events is how many events the job has, and Failed how many of them SaaSquatch
	// refused or gave up.
	Events int64 `json:"events"`
	Failed int64 `json:"failed"`
}

// AddJobs adds the import jobs of the run to the report.
func (r *Report) AddJobs(jobs []adapter.RunJob) error {
	for _, stored := range jobs {
		j, err := parseJob(stored)
		if err != nil {
			return err
		}
		job := JobReport{ID: j.state.JobID, Status: j.state.Status, Events: int64(len(j.ids)), Failed: j.state.Failed}
		if j.state.Stage != stageSettled {
			job.Status = adapter.JobPending.String()
		}
		r.Jobs = append(r.Jobs, job)
	}
	return nil
}

// Report returns what a dry run found. Rate is the number of requests in a second,
// 0 if it is not known.
func (c *Counted) Report(rate float64) *Report {
	r := &Report{DryRun: true, Counts: c.Counts, Outcomes: c.Outcomes, Faults: c.Faults, Requests: total(c.Outcomes, adapter.Pending)}
	r.First, r.Last = c.span()
	if rate > 0 {
		r.Estimate = time.Duration(float64(r.Requests) / rate * float64(time.Second))
	}
	return r
}

// ReportRun returns what a run has done so far.
func ReportRun(run *adapter.Run, objects []adapter.ObjectProgress) (*Report, error) {
	counts, err := parseCounts(run.Progress)
	if err != nil {
		return nil, err
	}
	r := &Report{Run: run.ID, Counts: *counts, Outcomes: run.Outcomes}
	r.First, r.Last = counts.span()
	for _, o := range objects {
		if o.Fault != "" {
			r.Faults = append(r.Faults, o)
		}
	}
	r.ObjectsFailed = int64(len(r.Faults)) // not those that were read at another try
	r.Interrupted = run.EndedAt.IsZero() || total(run.Outcomes, adapter.Pending) > 0
	return r, nil
}

// Failed returns how many events are dead or rejected.
func (r *Report) Failed() int64 { return total(r.Outcomes, adapter.Dead, adapter.Rejected) }

// Settled reports whether everything went well: every event that was to be sent
// is at SaaSquatch, and every object was read to its end.
func (r *Report) Settled() bool { return r.Failed() == 0 && len(r.Faults) == 0 && !r.Interrupted }
