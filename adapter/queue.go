package adapter

import (
	"context"
	"errors"
	"time"

	"segment-saasquatch/mapping"
)

// Queue keeps the events of one connection on disk until they are settled. It is what durable
// delivery needs of a store. It is safe for concurrent use.
type Queue interface {
	// Accept stores the arrivals, all or none. When it returns nil they are on disk and survive a
	// crash. It marks an arrival whose Outcome is Pending as Duplicate if the ledger has the event
	// as delivered, or the queue holds it already. It returns an [UnavailableError] if nothing was
	// stored. After another error that is unknown, and a redelivery finds out. Once ctx has ended,
	// Accept withdraws arrivals whose commit has not begun. It does not use the payloads after the
	// call, which may last longer than ctx.
	Accept(ctx context.Context, arrivals []Arrival) error
	// Lease hands out pending events to this process alone, in the order of their due times. They
	// are due, and were accepted for the tenant of the connection or moved to it. There are at most
	// limit of them, with no more payload than maxBytes, but at least one. An empty answer means
	// that nothing is due.
	//
	// An upsert keeps back its user's later events while it is pending and was tried fewer than
	// MaxHoldingTries times. Lease leaves them out and makes them due no earlier than the upsert,
	// unless this process has the upsert in hand or leases it in the same call, or SaaSquatch may
	// have processed the event: that must be settled before SaaSquatch forgets its key.
	Lease(ctx context.Context, limit int, maxBytes int64) ([]Leased, error)
	// LeaseParked hands out events that this process has parked, before their due times and in the
	// order given. It leaves out events that are no longer due at that very time, have an outcome,
	// belong to another tenant, or are kept back by an upsert. The bounds of payloads are as for Lease.
	LeaseParked(ctx context.Context, parked []Parked, maxBytes int64) ([]Leased, error)
	// MarkSending records that an attempt at the leased event begins. It is for events that must
	// not be sent twice if the process dies during the attempt. It returns ErrLeaseLost if the
	// event was leased to another process, moved to another tenant, or purged meanwhile. Then it
	// has recorded nothing, and the event must not be sent.
	MarkSending(ctx context.Context, leased *Leased) error
	// RecordAll ends leases, in the order of the recordings: each step settles its event, or puts it
	// back until Step.Due. It sets Lost where an event was leased to another process, or purged,
	// meanwhile, and records nothing for that event. When it returns nil, the other steps are on
	// disk. After an error the caller may record the same steps again: each counts once, even if it
	// was recorded in spite of the error. If the error is no [UnavailableError], one of the
	// recordings may be the cause, and the caller should record them one by one.
	RecordAll(ctx context.Context, recordings []Recording) error
	// Release gives leased events back as they were. They are due at once.
	Release(ctx context.Context, leased []*Leased) error
	// Wake returns a channel that receives when events may have become due earlier than their due
	// times say, such as after an Accept.
	Wake() <-chan struct{}
}

// MaxHoldingTries is how many attempts an upsert may have had that still keeps back its user's later
// events. On the usual schedule they take a quarter to half an hour. An upsert that was tried more
// often is superseded as soon as a newer upsert of its user is delivered.
const MaxHoldingTries = 10

// ErrLeaseLost means that this process no longer has the lease of an event.
var ErrLeaseLost = errors.New("the lease of the event is lost")

// UnavailableError says why a store takes nothing at the moment. Nothing was stored: the sender
// must send the request again.
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

// Unavailable returns the text for the sender.
func (e *UnavailableError) Unavailable() string { return e.Message }

// Arrival is an event for a Queue to accept.
type Arrival struct {
	// MessageID is Segment's messageId, empty if it has none. A replay makes a name for an upsert
	// of merged traits whose newest call has none.
	MessageID string
	// UserID, AccountID and EventKey are empty if the mapping ended before them.
	UserID, AccountID, EventKey string
	// Event is Segment's name of the event, empty if the call has none.
	Event string
	// Keyed says that MessageID is a valid idempotency key. Then it alone identifies the event, for
	// SaaSquatch as for the ledger.
	Keyed bool
	// Identity is that of [mapping.Result], for events to deliver with a MessageID that is no valid
	// key. Such a MessageID is often not unique, so MessageID and Identity together identify the
	// event. 0 if Keyed, or without a MessageID: an event without one is never a duplicate. An
	// upsert of merged traits is not Keyed. Its Identity distinguishes it from the call whose
	// messageId it has.
	Identity int64
	// Fingerprint is a hash of the body to send. Earlier versions stored it in place of Identity,
	// and it finds their events.
	Fingerprint int64
	// Payload is the event as Segment sent it.
	Payload []byte
	// Outcome is Pending for an event to deliver, else Skipped or Rejected.
	Outcome Outcome
	Reason  mapping.Reason
	Detail  string
}

// Leased is a pending event that this process alone may deliver until the lease ends.
type Leased struct {
	ID        int64
	MessageID string
	// Keyed says that MessageID is a valid idempotency key.
	Keyed             bool
	UserID, AccountID string
	Payload           []byte
	// Damaged says that Payload does not match its checksum. It must not be mapped or sent.
	Damaged    bool
	ReceivedAt time.Time
	// Attempts is the number of attempts that count.
	Attempts int
	// Failed is how many of them failed since the event was last accepted or redriven. It sets the
	// wait before the next attempt.
	Failed int
	// Redriven says that the event had an outcome already, and an operator redrove it.
	Redriven bool
	// FirstAttempt is when the first attempt that counts began, zero if there was none.
	FirstAttempt time.Time
	// AmbiguousSince is when the first ambiguous attempt began, which SaaSquatch may have
	// processed; zero if there was none.
	AmbiguousSince time.Time
	// Interrupted says that an attempt was marked as begun, and its end was not recorded. It stays so
	// after a step that puts back the event without an attempt.
	Interrupted bool
	// Tries is how many attempts an upsert has had since it was accepted or redriven, counted or not.
	// Below MaxHoldingTries it keeps back its user's later events.
	Tries int
	// Superseded says that the event is an upsert that no longer keeps back its user's later events,
	// and that a newer upsert of the user was delivered. It must not be sent: it would overwrite the
	// newer values.
	Superseded bool
	// Alone says that the last attempt was a bulk call whose answer does not tell what became of the
	// event, so the next attempt must be a call for this event only; see [Attempt].Alone.
	Alone bool
	// Run is the replay that brought the event, 0 for live traffic.
	Run int64
	// Until is when the lease ends by the clock of this process, zero if it ends with the process.
	Until time.Time
	// Token identifies the lease. It is the store's own.
	Token int64
}

// Parked is an event that a process has put back to make room for other users' events. It is due at
// Due, in whole milliseconds.
type Parked struct {
	ID  int64
	Due time.Time
}

// Recording is a step for [Queue].RecordAll to record.
type Recording struct {
	Leased *Leased
	Step   Step
	// Lost is set if this process no longer has the lease of the event, and the step is not recorded.
	Lost bool
}

// Step is the record of what was done with a leased event.
type Step struct {
	// Outcome is Pending to put the event back, else the final outcome.
	Outcome Outcome
	Reason  mapping.Reason
	Detail  string
	// Status is the HTTP status of the attempt, 0 if there was none.
	Status int
	// Call is the call that decided the attempt, 0 if there was none.
	Call Call
	// EventKey is the event's key under today's rules, empty to leave it.
	EventKey string
	// Counted says that an attempt was made that counts. An attempt that met a wrong configuration
	// does not.
	Counted bool
	// Ambiguous says that SaaSquatch may have processed the attempt, but did not say so.
	Ambiguous bool
	// Upsert says that the event is the upsert of a user. A step that puts it back after an attempt,
	// counted or not, is one of its MaxHoldingTries. A step that settles it as delivered supersedes
	// the older upserts of the user that were tried more often.
	Upsert bool
	// Began is when the attempt began and At when the step was taken.
	Began, At time.Time
	// Due is when a pending event may be leased again.
	Due time.Time
}
