package adapter

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"segment-saasquatch/mapping"
)

// Run is one replay of a Segment archive, as a store keeps it: what was asked
// for, how far it has come, and what became of its events.
type Run struct {
	// ID is unique in the store and grows from run to run.
	ID         int64  `json:"id"`
	Connection string `json:"connection"`
	// Tenant is the name of the tenant that its events go to.
	Tenant string `json:"tenant,omitempty"`
	// Spec says what to replay and how. It is the replay's own and never changes.
	Spec json.RawMessage `json:"spec"`
	// Progress is how far the reading has come. It is the replay's own and changes
	// with every batch.
	Progress json.RawMessage `json:"progress,omitempty"`
	// Outcomes count the events that were read so far, those of failed objects too.
	Outcomes  []Tally   `json:"outcomes"`
	StartedAt time.Time `json:"started_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// EndedAt is when all its objects had been read to their ends, or found to be
	// damaged; zero before that. Events may still be pending.
	EndedAt time.Time `json:"ended_at,omitzero"`
	// Owner tells the process that works on the run from others that did.
	Owner int64 `json:"-"`
}

// Imported reports whether the run's events go to SaaSquatch in import jobs: the member
// via of its spec says so.
func (r *Run) Imported() bool {
	var spec struct {
		Via string `json:"via"`
	}
	return json.Unmarshal(r.Spec, &spec) == nil && spec.Via == "import"
}

// Tally is a number of events that have an outcome and a reason in common.
type Tally struct {
	Outcome Outcome        `json:"outcome"`
	Reason  mapping.Reason `json:"reason,omitempty"`
	Events  int64          `json:"events"`
}

// ObjectProgress is how far one object of an archive has been read.
type ObjectProgress struct {
	Object string `json:"object"`
	// Version is that of the content which was read; another one is read anew.
	Version string `json:"version,omitempty"`
	// Lines is how many lines are done with, from the first on.
	Lines int64 `json:"lines"`
	// Done says that the object has been read to its end.
	Done bool `json:"done"`
	// Fault is why reading ended before that, empty if it did not.
	Fault string `json:"fault,omitempty"`
}

// Batch is a part of an archive that was read and mapped. It is stored all or
// none, together with the place up to which it reaches.
type Batch struct {
	// Arrivals are to be delivered, or were rejected. They are stored; one that is
	// pending or delivered already is marked as Duplicate, and only counted. So is a
	// rejected one whose payload a replay of the connection and tenant has brought
	// before and that is a dead letter still: the run counts it as rejected, the
	// totals do not, and the dead letter counts one more of its Repeats.
	Arrivals []Arrival
	// Held keeps the arrivals from being delivered one by one: they wait for an
	// import job.
	Held bool
	// Tallies count events that are not stored: skipped ones.
	Tallies []Tally
	// Objects are the objects that the batch has come further in.
	Objects []ObjectProgress
	// Progress replaces that of the run.
	Progress json.RawMessage
}

// RunState is what a run is at.
type RunState struct {
	Outcomes []Tally `json:"outcomes"`
	// Due is how many of its events are due for delivery, or under way.
	Due int64 `json:"due"`
	// Pending is how many have no outcome yet.
	Pending int64 `json:"pending"`
	// LiveWaiting says that events of live traffic wait for their delivery.
	LiveWaiting bool `json:"live_waiting"`
}

// RunStore is what a replay needs of a store. It is safe for concurrent use. TakeRun,
// AcceptBatch and RunState return a [RefusedError] for a run whose connection has
// another tenant by now.
type RunStore interface {
	// BeginRun makes a run for the connection and returns it.
	BeginRun(ctx context.Context, connection, tenant string, spec json.RawMessage) (*Run, error)
	// TakeRun makes a run the caller's, who goes on with it; whoever had it before
	// gets ErrRunTaken from then on. It returns ErrNoRun if there is none.
	TakeRun(ctx context.Context, id int64) (*Run, []ObjectProgress, error)
	// Run returns a run as it stands, with its objects, or ErrNoRun.
	Run(ctx context.Context, id int64) (*Run, []ObjectProgress, error)
	// Runs returns all runs, the newest first.
	Runs(ctx context.Context) ([]Run, error)
	// AcceptBatch stores a batch of the run: when it returns nil, all of it is on
	// disk. It returns ErrRunTaken if the run is another process's by now, and an
	// [UnavailableError] if nothing was stored. After any other error that is
	// unknown.
	AcceptBatch(ctx context.Context, run *Run, batch *Batch) error
	// RunState says what the run is at.
	RunState(ctx context.Context, run *Run) (*RunState, error)
	// EndRun records that there is nothing more to read. A run that is taken again
	// goes on.
	EndRun(ctx context.Context, run *Run) error
	// Failures calls yield with the payloads of the run's dead and rejected events,
	// in the order of acceptance, and ends with the first error of yield. Payloads
	// that are one dead letter are yielded once. It returns how many have no payload to
	// yield: those that were dropped, and those that are damaged.
	Failures(ctx context.Context, run int64, yield func(payload []byte) error) (missing int64, err error)
	// Known says of each event whether the ledger has it, or it is pending; empty
	// if neither. Only MessageID, Keyed, Identity and Fingerprint of the arrivals count.
	Known(ctx context.Context, connection, tenant string, arrivals []Arrival) ([]mapping.Reason, error)
	// Identifies returns identify calls that are delivered or pending and newer than
	// the queries ask, at most MaxIdentifies of each user. There are at most
	// MaxIdentifyQueries.
	Identifies(ctx context.Context, connection, tenant string, queries []IdentifyQuery) ([]KnownIdentify, error)
}

// IdentifyQuery asks for the identify calls of a user that are newer than a time.
type IdentifyQuery struct {
	UserID    string `json:"user_id"`
	AccountID string `json:"account_id"`
	// Since is in milliseconds since 1970.
	Since int64 `json:"since"`
}

// KnownIdentify is an identify call that a store has as delivered, or as pending.
type KnownIdentify struct {
	// Query is the number of the query that it answers, from 0.
	Query int `json:"query"`
	// MessageID is as the store holds it, see [StoredText]; empty if the call has none.
	MessageID string `json:"message_id"`
	// At is the call's own time where its payload is kept, as Own says, else when the
	// adapter received it, in milliseconds since 1970. A call that a replay brought has
	// only its own time: without a payload it is left out.
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
	// ErrRunTaken means that another process has gone on with the run.
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
	// Held returns held events of the run in the order of their ids, from the first
	// above after: at most limit of them, and no more payload than maxBytes, but at
	// least one event.
	Held(ctx context.Context, run *Run, after int64, limit int, maxBytes int64) ([]Leased, error)
	// Settle records the outcome of a held event. It returns ErrLeaseLost if that is
	// recorded already, or the event was purged.
	Settle(ctx context.Context, run *Run, held *Leased, step Step) error
	// Jobs returns the jobs of the run, in the order of their numbers.
	Jobs(ctx context.Context, run *Run) ([]RunJob, error)
	// PutJob records a job, new or not. It returns ErrRunTaken if the run is another
	// process's by now.
	PutJob(ctx context.Context, run *Run, job RunJob) error
}
