package store

import (
	"context"
	"database/sql"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// engine has the operations that differ between the databases. All SQL outside the path of an event is written once,
// for both engines, with $1, $2 … in the order of the arguments.
type engine interface {
	// committers is the number of transactions of changes that may run at once.
	committers() int
	// apply makes the changes durable in one transaction, all or none, and fills in their results. An error means
	// that none was made, unless it is an unknownCommitError.
	apply(changes []change) (applied, error)
	// lease hands out parked events, or pending events that are due at now by the clock of the process. The caller
	// takes now before the call, because leases count from it.
	lease(ctx context.Context, q *Queue, now time.Time, request leaseRequest) ([]adapter.Leased, error)
	// read runs fn on one snapshot of the database.
	read(ctx context.Context, kind readKind, fn func(*sql.Tx) error) error
	// write runs fn in a transaction. On an engine with one writer, only one of apply and write runs at a time.
	write(ctx context.Context, fn func(*sql.Tx) error) error
	// byMessage returns the condition that picks the rows with the messageId, as
	// conditions.add takes it.
	byMessage(ctx context.Context, tx *sql.Tx, messageID string) (clause string, args []any, err error)
	// logIndexes are the indexes of the log that are in the order of ids.
	logIndexes() logIndexes
	// indexed reports whether these indexes are complete.
	indexed(ctx context.Context, tx *sql.Tx) (bool, error)
	// index completes a part of them. It returns the wait before the next part, 0 if there is none.
	index(ctx context.Context) (next time.Duration, err error)
	// known returns for each event the reason why it would be a duplicate, empty if it would not be one.
	known(ctx context.Context, tx *sql.Tx, tenant int64, events []eventIdentity) ([]mapping.Reason, error)
	// refresh makes known find events that another process has accepted since.
	refresh(ctx context.Context, tx *sql.Tx) error
	// deliveredIdentifies calls yield with delivered identify calls of the tenant, at most
	// adapter.MaxIdentifies of each user.
	deliveredIdentifies(
		ctx context.Context, tx *sql.Tx, tenant int64, users []identifyUser, yield func(*identifyRow) error,
	) error
	// rewrite runs a statement for each of the rows, which the statement reads as the table r; see rewriteColumns.
	rewrite(ctx context.Context, tx *sql.Tx, statement string, rows []rewritten) error
	// pace bounds the steps of operators' work.
	pace() pace
	// yield lets the transactions of events go first, as far as a step would wait for them.
	yield(ctx context.Context)
	// stepped runs after the commit of a step of operators' work, before the rest.
	stepped(ctx context.Context)
	// forget removes deliveries with a messageId, whose rows were removed, from the engine's own index.
	forget(ctx context.Context, tx *sql.Tx, removed []removedMessage) error
	// idOrder is the expression by which an index orders the rows of a tenant.
	idOrder() string
	// lockRows is the end of a SELECT that locks its rows against other transactions until this one ends.
	lockRows() string
	// hasTable reports whether the database has the table.
	hasTable(ctx context.Context, tx *sql.Tx, name string) (bool, error)
	// insertRows inserts rows of a copied store, in one transaction.
	insertRows(ctx context.Context, table string, columns []string, rows [][]any) error
	// afterCopy completes the data that an engine derives from the rows of a copied store. Next is an id beyond
	// theirs.
	afterCopy(ctx context.Context, next int64) error
	// shard is the part of the totals that this process writes.
	shard() int64
	// check returns an error if a restart would not find the committed data.
	check() error
	// probe tests a write. It writes the time, unless the store is open for operators' work.
	probe(ctx context.Context) error
	// probed returns the time that the last probe wrote.
	probed(ctx context.Context, tx *sql.Tx) (time.Time, error)
	// clock returns the time of the database, and false if it has no clock of its own.
	clock(ctx context.Context) (now time.Time, known bool, err error)
	// leaseTime returns the time by which leases end. Now is that of the process.
	leaseTime(ctx context.Context, tx *sql.Tx, now time.Time) (time.Time, error)
	// endLeases locks pending events, deletes their leases that are over at the given time but keeps their marks, and
	// returns the events with other leases. It leaves out leases in the queue and leases in memory.
	endLeases(ctx context.Context, tx *sql.Tx, ids []int64, over time.Time) (inHand map[int64]struct{}, err error)
	// explain returns the fault of the database for the sender of an event, nil if err is not such a fault.
	explain(err error) *adapter.UnavailableError
	// maintain does the periodic work of the engine.
	maintain(ctx context.Context) error
	// heldLog returns the size of the write-ahead log, and whether a reader holds it. It looks for the readers only
	// if asked. Known is false if the engine has no such log.
	heldLog(readers bool) (log HeldLog, known bool)
	// strained reports whether work that can wait should not write now.
	strained() bool
	// compact gives some space back to the file system, and reports whether it can give back more.
	compact(ctx context.Context) (more bool, err error)
	// freeDisk returns the room for the database to grow in bytes, negative if it is unknown.
	freeDisk() (int64, error)
	close() error
}

// leaseRequest selects the events to lease: at most limit, and about maxBytes of payload beyond the first event.
type leaseRequest struct {
	limit    int
	maxBytes int64
	// parked are the events to lease before they are due, nil for due events.
	parked []adapter.Parked
}

// change is one change to make durable: an *acceptance, recordings, a *marking or *release.
type change interface {
	// weight estimates the work of the change in rows and bytes.
	weight() (rows int, bytes int64)
}

// acceptance stores the events of a request.
type acceptance struct {
	queue    *Queue
	arrivals []adapter.Arrival
	// events are the numbers of their names, 0 where there is none.
	events []int64
	at     time.Time
	// ctx ends when the sender can only get a 503; see withdrawn. Nil for a batch of a replay, whose caller waits.
	ctx context.Context
	// run is the replay of the events, nil for live traffic. batch is what the replay stores with them.
	run   *adapter.Run
	batch *adapter.Batch
	// duplicates are set by the engine, again on each try.
	duplicates []duplicate
}

// duplicate is an arrival that the store has already.
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

// markDuplicates marks the duplicates for the caller, once the events are on disk.
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
	// keepPayload and keepUntil decide about the payload of a settled event. A zero keepUntil keeps it as long as the
	// event.
	keepPayload bool
	keepUntil   time.Time
	// stored is set if the payload of a dead letter is kept; the engine decides.
	stored bool
	// lost is set if the event was not the process's any more.
	lost bool
}

// recordings end leases in their order, in one transaction.
type recordings []*recording

func (rs recordings) weight() (rows int, bytes int64) { return len(rs), 0 }

// counted returns the begin of an attempt that counts, nil otherwise.
func (r *recording) counted() any {
	if !r.step.Counted {
		return nil
	}
	return milliseconds(r.step.Began)
}

// ambiguous returns the begin of an attempt that SaaSquatch may have processed, nil otherwise.
func (r *recording) ambiguous() any {
	if !r.step.Ambiguous {
		return nil
	}
	return milliseconds(r.step.Began)
}

// keepsMark reports whether the event keeps the mark that its lease found: no attempt was made that settles what
// became of the marked one.
func (r *recording) keepsMark() bool { return r.leased.Interrupted && r.step.Began.IsZero() }

// failedAttempt reports whether the step is an attempt that did not deliver.
func (r *recording) failedAttempt() bool {
	switch r.step.Outcome {
	case adapter.Pending, adapter.Dead:
		return !r.step.Began.IsZero() && r.step.Reason != ""
	default:
		return false
	}
}

// marking records that an attempt begins.
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
