package adapter

import (
	"context"
	"errors"
	"time"

	"segment-saasquatch/mapping"
)

// Queue keeps the events of one connection on disk until they are settled. It is
// what durable delivery needs of a store. It is safe for concurrent use.
type Queue interface {
	// Accept stores the arrivals, all or none: when it returns nil they are on
	// disk and survive a crash. It marks an arrival whose Outcome is Pending as
	// Duplicate if the ledger has the event as delivered or the queue holds it
	// already. It returns an [UnavailableError] if nothing was stored; after any
	// other error that is unknown, and a redelivery finds out. Once ctx has ended,
	// arrivals whose commit has not begun are withdrawn. The payloads are not used after
	// the call, which may last longer than ctx.
	Accept(ctx context.Context, arrivals []Arrival) error
	// Lease hands out pending events that are due and were accepted for the tenant
	// that the connection has, or moved to it, oldest due time first, to this process
	// alone: at most limit of them, and no more payload than maxBytes, but
	// at least one event. An empty answer means that nothing is due.
	Lease(ctx context.Context, limit int, maxBytes int64) ([]Leased, error)
	// LeaseParked hands out events that this process has put back until a time, before
	// that time, in the order given. It leaves out those that are not due at that very
	// time any more, have an outcome, or are not the connection's tenant's. Payloads
	// are bounded as those of Lease are.
	LeaseParked(ctx context.Context, parked []Parked, maxBytes int64) ([]Leased, error)
	// MarkSending records that an attempt at the leased event begins, for one that must
	// not be sent twice if the process dies during the attempt. It returns ErrLeaseLost
	// if the event was given to another process, moved to another tenant, or purged in
	// the meantime; then nothing was recorded, and the event must not be sent.
	MarkSending(ctx context.Context, leased *Leased) error
	// Record ends a lease: it settles the event, or puts it back until Step.Due. It
	// returns ErrLeaseLost if the event was given to another process, or purged,
	// in the meantime; then nothing was recorded. After any other error the caller may
	// record the same step again: one that was recorded nevertheless is not lost, and
	// counts once.
	Record(ctx context.Context, leased *Leased, step Step) error
	// Release gives leased events back as they were. They are due at once.
	Release(ctx context.Context, leased []*Leased) error
	// Wake returns a channel that receives when events may have become due
	// earlier than the queue's own times say, such as after an Accept.
	Wake() <-chan struct{}
}

// ErrLeaseLost means that an event is no longer this process's to deliver.
var ErrLeaseLost = errors.New("the lease of the event is lost")

// UnavailableError says why a store takes nothing at the moment. Nothing was
// stored; the request has to come again.
type UnavailableError struct {
	// Message is for the sender and holds no paths, hosts or secrets.
	Message string
	// Err is the cause, nil if a limit is reached.
	Err error
}

func (e *UnavailableError) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// Unavailable returns what the sender may be told.
func (e *UnavailableError) Unavailable() string { return e.Message }

// Arrival is an event on its way into a Queue.
type Arrival struct {
	// MessageID is Segment's messageId, empty if it has none. A replay names an upsert
	// of merged traits whose newest call has none.
	MessageID string
	// UserID, AccountID and EventKey are empty where the mapping did not get so far.
	UserID, AccountID, EventKey string
	// Event is Segment's name of the event, empty if the call has none.
	Event string
	// Keyed says that MessageID is a valid idempotency key. Then it alone tells
	// the event from others, for SaaSquatch as for the ledger.
	Keyed bool
	// Identity is that of [mapping.Result], for events to deliver with a MessageID
	// that is no valid key: those are often not unique, so MessageID and Identity
	// together tell the event from others. 0 if Keyed, or without a MessageID; an
	// event without one is never a duplicate. An upsert of merged traits has one that
	// tells it from the call whose messageId it bears, and is not Keyed.
	Identity int64
	// Fingerprint is a hash of what would be sent, which earlier versions stored in
	// place of Identity. It finds the events that they have stored.
	Fingerprint int64
	// Payload is the event as Segment sent it.
	Payload []byte
	// Outcome is Pending for an event to deliver, else Skipped or Rejected.
	Outcome Outcome
	Reason  mapping.Reason
	Detail  string
}

// Leased is a pending event that is this process's to deliver until the lease
// ends.
type Leased struct {
	ID        int64
	MessageID string
	// Keyed says that MessageID is a valid idempotency key.
	Keyed             bool
	UserID, AccountID string
	Payload           []byte
	// Damaged says that Payload is not what was accepted, by its checksum. It must not be
	// mapped or sent.
	Damaged    bool
	ReceivedAt time.Time
	// Attempts is how many attempts have been made that count.
	Attempts int
	// Failed is how many of them failed since the event was accepted or redriven
	// last; it sets the wait until the next.
	Failed int
	// Redriven says that the event had an outcome already, and somebody asked to
	// have it delivered again.
	Redriven bool
	// FirstAttempt is when the first of them began, zero if there was none.
	FirstAttempt time.Time
	// AmbiguousSince is when the first attempt began that SaaSquatch may have
	// processed without our knowing, zero if there was none.
	AmbiguousSince time.Time
	// Interrupted says that an attempt was marked as begun whose end nobody
	// recorded.
	Interrupted bool
	// Run is the replay that brought the event, 0 for live traffic.
	Run int64
	// Until is when the lease ends on the clock of this process, zero if it ends with
	// the process.
	Until time.Time
	// Token tells this lease from others of the same event. It is the store's own.
	Token int64
}

// Parked is an event that was put back until Due, in whole milliseconds.
type Parked struct {
	ID  int64
	Due time.Time
}

// Step is what is recorded of a leased event.
type Step struct {
	// Outcome is Pending to put the event back, else what it came to.
	Outcome Outcome
	Reason  mapping.Reason
	Detail  string
	// Status is the HTTP status of the attempt, 0 if there was none.
	Status int
	// EventKey is the event's key under today's rules, empty to leave it.
	EventKey string
	// Counted says that an attempt was made that counts. One that met a wrong
	// configuration does not.
	Counted bool
	// Ambiguous says that SaaSquatch may have processed the attempt although it
	// is not known to.
	Ambiguous bool
	// Began is when the attempt began and At when the step was taken.
	Began, At time.Time
	// Due is when a pending event may be leased again.
	Due time.Time
}
