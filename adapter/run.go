package adapter

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"segment-saasquatch/mapping"
)

// Run is one replay of a Segment archive, as a store keeps it: its specification, its progress, and
// the outcomes of its events.
type Run struct {
	// ID is unique in the store and grows from run to run.
	ID         int64  `json:"id"`
	Connection string `json:"connection"`
	// Tenant is the name of the tenant that its events go to.
	Tenant string `json:"tenant,omitempty"`
	// Spec says what to replay and how. It is the replay's own and never changes.
	Spec json.RawMessage `json:"spec"`
	// Progress is the checkpoint of the reading. It is the replay's own and changes with every
	// batch.
	Progress json.RawMessage `json:"progress,omitempty"`
	// Outcomes count the events read so far, including those of failed objects.
	Outcomes  []Tally   `json:"outcomes"`
	StartedAt time.Time `json:"started_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// EndedAt is when all objects had been read to their ends or turned out to be damaged; zero
	// before that. Events may still be pending.
	EndedAt time.Time `json:"ended_at,omitzero"`
	// Owner identifies the process that works on the run.
	Owner int64 `json:"-"`
}

// Imported reports whether the run's events go to SaaSquatch in import jobs, by the member via of
// its spec.
func (r *Run) Imported() bool {
	var spec struct {
		Via string `json:"via"`
	}
	return json.Unmarshal(r.Spec, &spec) == nil && spec.Via == "import"
}

// Tally counts the events with the same outcome and reason.
type Tally struct {
	Outcome Outcome        `json:"outcome"`
	Reason  mapping.Reason `json:"reason,omitempty"`
	Events  int64          `json:"events"`
}

// ObjectProgress is the checkpoint of one object of an archive.
type ObjectProgress struct {
	Object string `json:"object"`
	// Version identifies the content that was read. An object with another version is read anew.
	Version string `json:"version,omitempty"`
	// Lines is how many lines are done, from the first on.
	Lines int64 `json:"lines"`
	// Done says that the object has been read to its end.
	Done bool `json:"done"`
	// Fault is why reading ended before the end, empty if it did not.
	Fault string `json:"fault,omitempty"`
}

// Batch is a part of an archive that was read and mapped. It is stored all or none, together with
// the checkpoint after it.
type Batch struct {
	// Arrivals are to be delivered, or were rejected. They are stored. An arrival that is pending
	// or delivered already is marked as Duplicate, and only counted. So is a rejected arrival whose
	// payload an earlier replay of the connection and tenant has stored, if it is still a dead
	// letter: the run counts it as rejected, the totals do not, and the dead letter has one more of
	// its Repeats.
	Arrivals []Arrival
	// Held keeps the arrivals from being delivered one by one: they wait for an import job.
	Held bool
	// Tallies count events that are not stored: skipped ones.
	Tallies []Tally
	// Objects are the objects that the batch has read on in.
	Objects []ObjectProgress
	// Progress replaces that of the run.
	Progress json.RawMessage
}

// RunState is the state of a run.
type RunState struct {
	Outcomes []Tally `json:"outcomes"`
	// Due is how many of its events are due for delivery or in flight.
	Due int64 `json:"due"`
	// Pending is how many have no outcome yet.
	Pending int64 `json:"pending"`
	// LiveWaiting says that events of live traffic wait for their delivery.
	LiveWaiting bool `json:"live_waiting"`
}

// RunStore is what a replay needs of a store. It is safe for concurrent use. TakeRun, AcceptBatch
// and RunState return a [RefusedError] for a run whose connection has another tenant by now.
type RunStore interface {
	// BeginRun makes a run for the connection and returns it.
	BeginRun(ctx context.Context, connection, tenant string, spec json.RawMessage) (*Run, error)
	// TakeRun makes the caller the owner of a run, to resume it. The previous owner gets
	// ErrRunTaken from then on. TakeRun returns ErrNoRun if there is no such run.
	TakeRun(ctx context.Context, id int64) (*Run, []ObjectProgress, error)
	// Run returns a run as it stands, with its objects, or ErrNoRun.
	Run(ctx context.Context, id int64) (*Run, []ObjectProgress, error)
	// Runs returns all runs, the newest first.
	Runs(ctx context.Context) ([]Run, error)
	// AcceptBatch stores a batch of the run. When it returns nil, all of it is on disk. It returns
	// ErrRunTaken if another process owns the run by now, and an [UnavailableError] if nothing was
	// stored. After another error that is unknown.
	AcceptBatch(ctx context.Context, run *Run, batch *Batch) error
	// RunState returns the state of the run.
	RunState(ctx context.Context, run *Run) (*RunState, error)
	// EndRun records that there is nothing more to read. TakeRun reopens such a run.
	EndRun(ctx context.Context, run *Run) error
	// Failures calls yield with the payloads of the run's dead and rejected events, in the order of
	// acceptance, and ends with the first error of yield. It yields a dead letter once, whatever
	// its Repeats. It returns how many events have no payload to yield: dropped and damaged ones.
	Failures(ctx context.Context, run int64, yield func(payload []byte) error) (missing int64, err error)
	// Known returns for each event whether the ledger has it or it is pending; empty if neither.
	// Only MessageID, Keyed, Identity and Fingerprint of the arrivals count.
	Known(ctx context.Context, connection, tenant string, arrivals []Arrival) ([]mapping.Reason, error)
	// Identifies returns the identify calls that are delivered or pending and newer than a query's
	// time, at most MaxIdentifies of each user. There are at most MaxIdentifyQueries queries.
	Identifies(ctx context.Context, connection, tenant string, queries []IdentifyQuery) ([]KnownIdentify, error)
}

// IdentifyQuery asks for the identify calls of a user that are newer than a time.
type IdentifyQuery struct {
	UserID    string `json:"user_id"`
	AccountID string `json:"account_id"`
	// Since is in milliseconds since 1970.
	Since int64 `json:"since"`
}

// KnownIdentify is an identify call that a store has as delivered or pending.
type KnownIdentify struct {
	// Query is the index of the query that it answers.
	Query int `json:"query"`
	// MessageID is as the store has it, see [StoredText]; empty if the call has none.
	MessageID string `json:"message_id"`
	// At is in milliseconds since 1970. If Own is true it is the call's own time, from its stored
	// payload, else the time at which the adapter received the call. A call that a replay brought
	// has only its own time: without a payload it is left out.
	At  int64 `json:"at"`
	Own bool  `json:"own,omitempty"`
}

// Bounds of [RunStore.Identifies].
const (
	MaxIdentifies      = 50
	MaxIdentifyQueries = 500
)

var (
	// ErrNoRun means that the store has no run with this id.
	ErrNoRun = errors.New("no run with this id")
	// ErrRunTaken means that another process has resumed the run.
	ErrRunTaken = errors.New("the run was taken over by another process")
)

// RunJob is an import job of a run, for the held events from First to Last.
type RunJob struct {
	// Number counts the jobs of the run from 1.
	Number      int
	First, Last int64
	// State is the replay's own.
	State json.RawMessage
}

// ImportStore is what a replay by import jobs needs of a store. It is safe for
// concurrent use.
type ImportStore interface {
	RunStore
	// Held returns held events of the run in the order of their ids, from the first above after: at
	// most limit, with no more payload than maxBytes, but at least one event.
	Held(ctx context.Context, run *Run, after int64, limit int, maxBytes int64) ([]Leased, error)
	// Settle records the outcome of a held event. It returns ErrLeaseLost if an outcome is recorded
	// already, or the event was purged.
	Settle(ctx context.Context, run *Run, held *Leased, step Step) error
	// Jobs returns the jobs of the run, in the order of their numbers.
	Jobs(ctx context.Context, run *Run) ([]RunJob, error)
	// PutJob records a new or a changed job. It returns ErrRunTaken if another process owns the run
	// by now.
	PutJob(ctx context.Context, run *Run, job RunJob) error
}
