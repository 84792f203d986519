package store

import (
	"context"
	"database/sql"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// engine is what differs between the databases. Everything that is not on an
// event's way is written once, in SQL that both understand, with $1, $2 … in the
// order of the arguments.
type engine interface {
	// committers is how many transactions of changes may be under way at once.
	committers() int
	// apply makes the changes durable in one transaction, all or none, and fills
	// in what they want to know. An error means that none was made, unless it is
	// an unknownCommitError.
	apply(changes []change) (applied, error)
	// lease hands out pending events that are due at a time of the process, or parked ones.
	// The time has to be from before the call, because the leases count from it.
	lease(ctx context.Context, q *Queue, now time.Time, request leaseRequest) ([]adapter.Leased, error)
	// read runs fn on one snapshot of the database.
	read(ctx context.Context, kind readKind, fn func(*sql.Tx) error) error
	// write runs fn in a transaction, one at a time with apply where the engine
	// has one writer.
	write(ctx context.Context, fn func(*sql.Tx) error) error
	// byMessage returns the condition that picks the rows with the messageId, as
	// conditions.add takes it.
	byMessage(ctx context.Context, tx *sql.Tx, messageID string) (clause string, args []any, err error)
	// logIndexes are the indexes of the log that are in the order of ids.
	logIndexes() logIndexes
	// indexed reports whether these indexes are complete.
	indexed(ctx context.Context, tx *sql.Tx) (bool, error)
	// index completes a part of them. It returns how long to wait before the next part, 0 if
	// there is none.
	index(ctx context.Context) (next time.Duration, err error)
	// known returns for each of the events why it would be a duplicate, empty if it
	// would not be.
	known(ctx context.Context, tx *sql.Tx, tenant int64, events []eventIdentity) ([]mapping.Reason, error)
	// refresh has known find what another process has accepted meanwhile.
	refresh(ctx context.Context, tx *sql.Tx) error
	// deliveredIdentifies calls yield with delivered identify calls of the tenant, at most
	// adapter.MaxIdentifies of each user.
	deliveredIdentifies(ctx context.Context, tx *sql.Tx, tenant int64, users []identifyUser, yield func(*identifyRow) error) error
	// rewrite runs a statement for each of the rows, which it knows as the table r; see
	// rewriteColumns.
	rewrite(ctx context.Context, tx *sql.Tx, statement string, rows []rewritten) error
	// pace bounds the steps of operators' work.
	pace() pace
	// yield lets the work of events go before a step, as far as it holds up the step.
	yield(ctx context.Context)
	// stepped is told of a step of operators' work that was committed, after the rest of
	// which the next may begin.
	stepped(ctx context.Context)
	// forget is told of deliveries with a messageId whose rows were removed.
	forget(ctx context.Context, tx *sql.Tx, removed []removedMessage) error
	// idOrder is the expression by whose order the rows of a tenant are in an index.
	idOrder() string
	// lockRows ends a SELECT whose rows no other transaction may change until this one
	// ends.
	lockRows() string
	// hasTable reports whether the database has the table.
	hasTable(ctx context.Context, tx *sql.Tx, name string) (bool, error)
	// insertRows inserts rows of a copied store, in one transaction.
	insertRows(ctx context.Context, table string, columns []string, rows [][]any) error
	// afterCopy completes what an engine derives from the rows of a copied store. Next is
	// an id beyond theirs.
	afterCopy(ctx context.Context, next int64) error
	// shard is the part of the totals that this process writes.
	shard() int64
	// check finds out whether what was committed is still where a restart looks for it.
	check() error
	// probe writes something, to see whether that works: the time, unless the store is
	// open for operators' work.
	probe(ctx context.Context) error
	// probed returns the time that the last probe wrote.
	probed(ctx context.Context, tx *sql.Tx) (time.Time, error)
	// clock returns the time of the database, and false if it has no clock of its own.
	clock(ctx context.Context) (now time.Time, known bool, err error)
	// leaseTime returns the time by which leases end. Now is that of the process.
	leaseTime(ctx context.Context, tx *sql.Tx, now time.Time) (time.Time, error)
	// endLeases locks pending events, forgets those of their leases that are over at the
	// time but keeps their marks, and returns the events whose leases are not over. It leaves
	// out leases that stand in the queue, and those in memory.
	endLeases(ctx context.Context, tx *sql.Tx, ids []int64, over time.Time) (inHand map[int64]struct{}, err error)
	// explain returns what the sender may be told of err, nil if err does not say
	// that the database is out of order.
	explain(err error) *adapter.UnavailableError
	// maintain does what has to be done now and then beside the events.
	maintain(ctx context.Context) error
	// heldLog returns the size of the write-ahead log, and whether a reader holds it. The
	// readers are looked for on demand. Known is false if the engine has no such log.
	heldLog(readers bool) (log HeldLog, known bool)
	// strained reports whether work that can wait should not write at the moment.
	strained() bool
	// compact gives some space back to the file system and reports whether there
	// is more to give.
	compact(ctx context.Context) (more bool, err error)
	// freeDisk returns the room for the database to grow in bytes, negative if
	// that is not known.
	freeDisk() (int64, error)
	close() error
}

// leaseRequest says which events to lease: at most limit, and no more than about maxBytes
// of payload beyond the first.
type leaseRequest struct {
	limit    int
	maxBytes int64
	// parked are the events to lease before they are due, nil for those that are due.
	parked []adapter.Parked
}

// change is something to make durable: an *acceptance, *recording, *marking or
// *release.
type change interface {
	// weight is about how much work the change is, in rows and bytes.
	weight() (rows int, bytes int64)
}

// acceptance stores the events of a request.
type acceptance struct {
	queue    *Queue
	arrivals []adapter.Arrival
	// events are the numbers of their names, 0 where there is none.
	events []int64
	at     time.Time
	// ctx ends when the sender gets no more than a 503; see withdrawn. Nil for a batch of a
	// replay, whose caller waits.
	ctx context.Context
	// run is the replay that the events are of, nil for live traffic, and batch
	// what else is stored of it.
	run   *adapter.Run
	batch *adapter.Batch
	// duplicates are found by the engine, anew with each try.
	duplicates []duplicate
}

// duplicate is an arrival that is stored already.
type duplicate struct {
	index  int
	reason mapping.Reason
}

func duplicateReason(pending bool) mapping.Reason {
	if pending {
		return mapping.ReasonAlreadyAccepted
	}
	return mapping.ReasonAlreadyDelivered
}

// markDuplicates tells the caller, once the events are on disk.
func (a *acceptance) markDuplicates() {
	for _, d := range a.duplicates {
		a.arrivals[d.index].Outcome, a.arrivals[d.index].Reason = adapter.Duplicate, d.reason
	}
}

func (a *acceptance) weight() (rows int, bytes int64) {
	for i := range a.arrivals {
		bytes += int64(len(a.arrivals[i].Payload))
	}
	return len(a.arrivals), bytes
}

// recording ends the lease of an event.
type recording struct {
	queue  *Queue
	leased *adapter.Leased
	step   adapter.Step
	// keepPayload and keepUntil say what becomes of the payload once the event is
	// settled; zero keeps it as long as the event.
	keepPayload bool
	keepUntil   time.Time
	// stored says that the payload of a dead letter is kept; the engine decides.
	stored bool
	// lost is set if the event was not the process's any more.
	lost bool
}

// result is what the submitter learns of a recording that was committed.
func (r *recording) result() error {
	if r.lost {
		return adapter.ErrLeaseLost
	}
	return nil
}

func (r *recording) weight() (rows int, bytes int64) { return 1, 0 }

// counted returns when the attempt began, nil if there was none that counts.
func (r *recording) counted() any {
	if !r.step.Counted {
		return nil
	}
	return milliseconds(r.step.Began)
}

// ambiguous returns when the attempt began, nil unless SaaSquatch may have
// processed it.
func (r *recording) ambiguous() any {
	if !r.step.Ambiguous {
		return nil
	}
	return milliseconds(r.step.Began)
}

// failedAttempt reports whether the step is an attempt that did not deliver.
func (r *recording) failedAttempt() bool {
	switch r.step.Outcome {
	case adapter.Pending, adapter.Dead:
		return !r.step.Began.IsZero() && r.step.Reason != ""
	default:
		return false
	}
}

// marking says that an attempt begins.
type marking struct {
	queue  *Queue
	leased *adapter.Leased
	at     time.Time
	// lost is set if the event was not the process's any more.
	lost bool
}

func (m *marking) weight() (rows int, bytes int64) { return 1, 0 }

// release gives leased events back.
type release struct {
	queue  *Queue
	leased []*adapter.Leased
}

func (r *release) weight() (rows int, bytes int64) { return len(r.leased), 0 }

// removedMessage is a delivery whose row was removed.
type removedMessage struct {
	id        int64
	messageID string
}
