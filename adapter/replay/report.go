package replay

import (
	"cmp"
	"slices"
	"time"

	"segment-saasquatch/adapter"
)

// Report is the result of a replay or a dry run.
type Report struct {
	// Run is the number of the run, 0 for a dry run and for written files.
	Run int64 `json:"run,omitempty"`
	// DryRun means that nothing was sent or stored.
	DryRun bool `json:"dry_run,omitempty"`
	// Interrupted means that there is more to read or to deliver.
	Interrupted bool `json:"interrupted,omitempty"`
	Counts
	// Outcomes count all events. In a dry run those that would be sent are pending.
	Outcomes []adapter.Tally `json:"outcomes"`
	// First and Last are the times of the earliest and the latest mapped event, nil if none has a time.
	First *time.Time `json:"first,omitempty"`
	Last  *time.Time `json:"last,omitempty"`
	// Requests are the requests that a replay would make if it sends each event by itself. Estimate is their
	// duration at the given rate of events, 0 without a rate.
	Requests int64         `json:"requests,omitempty"`
	Estimate time.Duration `json:"estimate_ns,omitempty"`
	// Faults are the objects that could not be read to their ends.
	Faults []adapter.ObjectProgress `json:"faults,omitempty"`
	// PassedOver is the number of objects that were not read. PassedOverFor names them by reason.
	PassedOver    int64        `json:"objects_passed_over"`
	PassedOverFor []PassedOver `json:"passed_over,omitempty"`
	// UserFiles are the numbers of lines that matched no event, for each file of userIds.
	UserFiles []UserFileReport `json:"user_files,omitempty"`
	// Files are the written files of import lines.
	Files []string `json:"files,omitempty"`
	// Jobs are the import jobs of the run.
	Jobs []JobReport `json:"jobs,omitempty"`
	// Took is the duration since the start or the last resumption.
	Took time.Duration `json:"took_ns"`
}

// JobReport is one import job of a run.
type JobReport struct {
	// ID is SaaSquatch's, empty while no job is known.
	ID string `json:"id,omitempty"`
	// Status is SaaSquatch's at the end of the job, PENDING before.
	Status string `json:"status"`
	// Events is the number of events in the job. SaaSquatch refused or gave up Failed of them.
	Events int64 `json:"events"`
	Failed int64 `json:"failed"`
}

// Report returns the report of a dry run. Rate is the number of requests in a second, 0 if unknown.
func (c *Counted) Report(rate float64) *Report {
	r := &Report{DryRun: true, Counts: c.Counts, Outcomes: c.Outcomes, Faults: c.Faults}
	r.Requests = total(c.Outcomes, adapter.Pending)
	r.First, r.Last = c.span()
	if rate > 0 {
		r.Estimate = time.Duration(float64(r.Requests) / rate * float64(time.Second))
	}
	return r
}

// ReportRun returns the report of a run so far.
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
	r.ObjectsFailed = int64(len(r.Faults)) // not those that a later try has read
	r.Interrupted = run.EndedAt.IsZero() || total(run.Outcomes, adapter.Pending) > 0
	return r, nil
}

// Failed returns the number of dead and rejected events.
func (r *Report) Failed() int64 { return total(r.Outcomes, adapter.Dead, adapter.Rejected) }

// Settled reports whether SaaSquatch has every event to send, and every object was read to its end.
func (r *Report) Settled() bool { return r.Failed() == 0 && len(r.Faults) == 0 && !r.Interrupted }

// maxPassedOver limits the objects that are named for a reason.
const maxPassedOver = 3

// PassedOver are the objects that were not read for one reason.
type PassedOver struct {
	Reason  string `json:"reason"` // a text
	Objects int64  `json:"objects"`
	// First are the keys of the first three.
	First []string `json:"first"`
}

// AddPassedOver adds an object that was not read. The reasons are those of the archive package.
func AddPassedOver(list []PassedOver, key, reason string) []PassedOver {
	i := slices.IndexFunc(list, func(p PassedOver) bool { return p.Reason == reason })
	if i < 0 {
		i = len(list)
		list = append(list, PassedOver{Reason: reason})
	}
	list[i].Objects++
	if len(list[i].First) < maxPassedOver {
		list[i].First = append(list[i].First, key)
	}
	return list
}

// SetPassedOver sets the objects of the report that were not read, the most frequent reason first.
func (r *Report) SetPassedOver(list []PassedOver) {
	r.PassedOver = 0
	for _, p := range list {
		r.PassedOver += p.Objects
	}
	r.PassedOverFor = slices.SortedStableFunc(slices.Values(list), func(a, b PassedOver) int {
		return cmp.Compare(b.Objects, a.Objects)
	})
}
