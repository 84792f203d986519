package deliverytest

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Queue is an adapter.Queue in memory that holds its user strictly to the contract. It can fail, hand
// out leases that end, and outlive a crash of its user.
//
// Set the fields before use. A test may change Fault and Takes between operations.
type Queue struct {
	// LeaseFor is how long leases last. Default: 0, until they are ended.
	LeaseFor time.Duration
	// LongPoll makes Lease wait until an event is due. A Dispatcher polls its queue twice a second,
	// which would take most of the time of a test of simulated days.
	LongPoll bool
	// OnAccept is called with what Accept is given. It may settle arrivals. If it returns an error,
	// nothing is kept. Default: none.
	OnAccept func(ctx context.Context, arrivals []adapter.Arrival) error
	// Fault is called before every operation: accept, lease, mark, record, release. Its error is the
	// operation's. Default: no operation fails.
	Fault func(operation string) error
	// Now is the clock of the process, and Database that of the database, by which leases end.
	// Default: time.Now for both.
	Now, Database func() time.Time
	// Overstated is how much later the process takes its leases to end than they do.
	Overstated time.Duration
	// Unknown is called after a RecordAll that succeeded. If it returns true, the caller gets an error
	// all the same, as after a COMMIT without a reply. Default: never.
	Unknown func() bool
	// Takes is how long a RecordAll takes.
	Takes time.Duration

	t        testing.TB
	mu       sync.Mutex
	arrivals []adapter.Arrival
	keys     map[string]bool
	upserts  map[[2]string][]*Event // the upserts of each user that were accepted, oldest first
	failing  map[string]error       // by operation
	events   []*Event               // by ID-1
	due      dueHeap
	wake     chan struct{}
	token    int64
	process  int // that has the Queue since the last Restart
	replicas int
	bytes    int64
	stats    Stats
}

// Stats counts what a Queue did.
type Stats struct {
	// InHand is how many events are leased.
	InHand int
	// MostInHand and MostBytes are how many events, and bytes of payloads, were leased at once.
	MostInHand int
	MostBytes  int64
	// Marks counts the calls of MarkSending.
	Marks int
	// Records counts the calls of RecordAll that reached the queue, and Parks the steps that put an
	// event back without an attempt.
	Records, Parks int
}

// Event is an event in a Queue.
type Event struct {
	adapter.Leased
	// Due is when the event may be leased, and Wait how long that was from the Record that set it.
	Due  time.Time
	Wait time.Duration
	// Lease is the token under which the event is leased, 0 if it is not leased.
	Lease int64
	// Marked says that an attempt was marked as begun, and no end was recorded.
	Marked  bool
	Outcome adapter.Outcome
	// Last is the step that was recorded last.
	Last adapter.Step
	// Recorded is how many attempts were recorded, counted or not.
	Recorded int
	// Untold says that the last Record returned an error although it succeeded, and was not
	// repeated.
	Untold bool

	leasedUntil time.Time // when the lease ends, on the database's clock
	token       int64     // of the last Record
	process     int       // that leased the event last
}

// NewQueue returns an empty Queue. It fails the test if a Lease breaks the contract.
func NewQueue(t testing.TB) *Queue {
	return &Queue{
		Fault: func(string) error { return nil }, Unknown: func() bool { return false },
		Now: time.Now, Database: time.Now,
		t: t, keys: make(map[string]bool), upserts: make(map[[2]string][]*Event), failing: make(map[string]error),
		wake: make(chan struct{}, 1),
	}
}

// Accept keeps the arrivals. A key that the queue was given before, or earlier in the arrivals, makes
// an arrival a duplicate.
func (q *Queue) Accept(ctx context.Context, arrivals []adapter.Arrival) error {
	given := slices.Clone(arrivals)
	if q.OnAccept != nil {
		if err := q.OnAccept(ctx, arrivals); err != nil {
			return err
		}
	}
	if err := q.fault("accept"); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.arrivals = given
	for i := range arrivals {
		q.accept(&arrivals[i])
	}
	q.signal()
	return nil
}

func (q *Queue) accept(a *adapter.Arrival) {
	if a.Outcome == adapter.Pending && a.Keyed {
		if q.keys[a.MessageID] {
			a.Outcome, a.Reason = adapter.Duplicate, mapping.ReasonAlreadyAccepted
			return
		}
		q.keys[a.MessageID] = true
	}
	now := q.Now()
	event := &Event{
		Leased: adapter.Leased{
			ID: int64(len(q.events) + 1), MessageID: a.MessageID, UserID: a.UserID, AccountID: a.AccountID,
			Payload: slices.Clone(a.Payload), ReceivedAt: now,
		},
		Due: now, Outcome: a.Outcome,
	}
	q.events = append(q.events, event)
	if a.Outcome == adapter.Pending {
		if a.EventKey == adapter.UpsertEventKey {
			of := [2]string{a.AccountID, a.UserID}
			q.upserts[of] = append(q.upserts[of], event)
		}
		q.offer(event)
	}
}

// keptBack returns the due time of an upsert that keeps back the event from the process, and false if
// there is none.
func (q *Queue) keptBack(event *Event, process int) (time.Time, bool) {
	if !event.AmbiguousSince.IsZero() {
		return time.Time{}, false
	}
	for _, upsert := range q.upserts[[2]string{event.AccountID, event.UserID}] {
		if upsert.ID < event.ID && upsert.Outcome == adapter.Pending && !upsert.Superseded &&
			(upsert.Lease == 0 || upsert.process != process) && upsert.Tries < adapter.MaxHoldingTries {
			return upsert.Due, true
		}
	}
	return time.Time{}, false
}

// supersede marks the older upserts of a user that keep back nothing any more.
func (q *Queue) supersede(by *Event) {
	for _, upsert := range q.upserts[[2]string{by.AccountID, by.UserID}] {
		if upsert.ID < by.ID && upsert.Outcome == adapter.Pending && upsert.Tries >= adapter.MaxHoldingTries {
			upsert.Superseded = true
		}
	}
}

// keepBackRest is how long an event waits at least that an upsert keeps back.
const keepBackRest = 2 * time.Second

// offer makes the event leasable at its due time.
func (q *Queue) offer(event *Event) {
	heap.Push(&q.due, dueEntry{event.Due, event.ID})
	if q.LongPoll { // a Lease may wait for an event that is due later
		q.signal()
	}
}

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Lease leases events that are due, in the order of their due times. With LongPoll it waits for one.
func (q *Queue) Lease(ctx context.Context, limit int, maxBytes int64) ([]adapter.Leased, error) {
	return q.lease(ctx, limit, maxBytes, q.current())
}

// current returns the process that has the Queue since the last Restart.
func (q *Queue) current() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.process
}

func (q *Queue) lease(ctx context.Context, limit int, maxBytes int64, process int) ([]adapter.Leased, error) {
	leased, err := q.leaseDue(limit, maxBytes, process)
	if !q.LongPoll || err != nil || len(leased) > 0 || ctx.Err() != nil {
		return leased, err
	}
	timer := time.NewTimer(q.untilDue())
	defer timer.Stop()
	select {
	case <-q.wake:
	case <-timer.C:
	case <-ctx.Done():
		return nil, nil
	}
	return q.leaseDue(limit, maxBytes, process)
}

// longestPoll is how late Lease may notice a lease that has ended. A Dispatcher takes two minutes
// without a look at the clock for a gap in its uptime.
const longestPoll = 20 * time.Second

// untilDue returns the time until the next event is due, at most longestPoll.
func (q *Queue) untilDue() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.due) == 0 {
		return longestPoll
	}
	return min(longestPoll, q.due[0].at.Sub(q.Now()))
}

func (q *Queue) leaseDue(limit int, maxBytes int64, process int) (leased []adapter.Leased, err error) {
	if err := q.fault("lease"); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if limit <= 0 || maxBytes <= 0 {
		q.t.Errorf("lease of %d events and %d bytes", limit, maxBytes)
	}
	now := q.Now()
	if q.LeaseFor > 0 && q.stats.InHand > 0 {
		q.endLeases(now)
	}
	for len(q.due) > 0 && !q.due[0].at.After(now) && len(leased) < limit {
		entry := q.due[0]
		event := q.events[entry.id-1]
		if event.Outcome != adapter.Pending || !event.Due.Equal(entry.at) || event.Lease != 0 {
			heap.Pop(&q.due) // an entry of the past
			continue
		}
		if due, kept := q.keptBack(event, process); kept {
			heap.Pop(&q.due)
			if event.Due = due; due.Before(now.Add(keepBackRest)) {
				event.Due = now.Add(keepBackRest)
			}
			q.offer(event)
			continue
		}
		if maxBytes -= int64(len(event.Payload)); maxBytes < 0 && len(leased) > 0 {
			break
		}
		heap.Pop(&q.due)
		leased = append(leased, q.take(event, now, process))
	}
	return leased, nil
}

// LeaseParked leases parked events. Their entries stay in the heap, as entries of the past.
func (q *Queue) LeaseParked(
	_ context.Context, parked []adapter.Parked, maxBytes int64,
) (leased []adapter.Leased, err error) {
	return q.leaseParked(parked, maxBytes, q.current())
}

func (q *Queue) leaseParked(
	parked []adapter.Parked, maxBytes int64, process int,
) (leased []adapter.Leased, err error) {
	if err := q.fault("lease"); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(parked) == 0 || maxBytes <= 0 {
		q.t.Errorf("lease of %d parked events and %d bytes", len(parked), maxBytes)
	}
	now := q.Now()
	for _, p := range parked {
		event := q.events[p.ID-1]
		if event.Outcome != adapter.Pending || !event.Due.Equal(p.Due) || event.Lease != 0 {
			continue
		}
		if _, kept := q.keptBack(event, process); kept {
			continue
		}
		if maxBytes -= int64(len(event.Payload)); maxBytes < 0 && len(leased) > 0 {
			break
		}
		leased = append(leased, q.take(event, now, process))
	}
	return leased, nil
}

// take leases an event.
func (q *Queue) take(event *Event, now time.Time, process int) adapter.Leased {
	q.token++
	event.process = process
	event.Lease, event.Token, event.Interrupted = q.token, q.token, event.Marked
	if q.LeaseFor > 0 {
		event.Until, event.leasedUntil = now.Add(q.LeaseFor+q.Overstated), q.Database().Add(q.LeaseFor)
	}
	q.stats.InHand++
	q.bytes += int64(len(event.Payload))
	q.stats.MostInHand, q.stats.MostBytes = max(q.stats.MostInHand, q.stats.InHand), max(q.stats.MostBytes, q.bytes)
	return event.Leased
}

// endLeases makes events due whose leases have ended by the database's clock.
func (q *Queue) endLeases(now time.Time) {
	for _, event := range q.events {
		if event.Lease != 0 && !q.Database().Before(event.leasedUntil) {
			q.drop(event)
			event.Due = now
			q.offer(event)
		}
	}
}

// drop ends the event's lease, if there is one.
func (q *Queue) drop(event *Event) {
	if event.Lease != 0 {
		event.Lease = 0
		q.stats.InHand--
		q.bytes -= int64(len(event.Payload))
	}
}

// MarkSending marks an attempt as begun.
func (q *Queue) MarkSending(_ context.Context, leased *adapter.Leased) error {
	if err := q.fault("mark"); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stats.Marks++
	event := q.events[leased.ID-1]
	if event.Lease != leased.Token {
		return adapter.ErrLeaseLost
	}
	event.Marked = true
	return nil
}

// RecordAll ends leases with steps, after the time that Takes says.
func (q *Queue) RecordAll(_ context.Context, recordings []adapter.Recording) error {
	time.Sleep(q.Takes)
	if err := q.fault("record"); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stats.Records++
	unknown := q.Unknown()
	for i := range recordings {
		r := &recordings[i]
		event := q.events[r.Leased.ID-1]
		if event.token == r.Leased.Token {
			event.Untold = unknown
			continue // the caller could not know
		}
		if r.Lost = event.Lease != r.Leased.Token; r.Lost {
			continue
		}
		event.token = r.Leased.Token
		event.Untold = unknown
		q.record(event, &r.Step)
	}
	if unknown {
		return &adapter.UnavailableError{Message: "the store cannot be reached"}
	}
	return nil
}

func (q *Queue) record(event *Event, step *adapter.Step) {
	q.drop(event)
	event.Marked = event.Interrupted && step.Began.IsZero()
	if !step.Began.IsZero() {
		event.Recorded++
	}
	if step.Counted {
		event.Attempts++
		event.Failed++
		if event.FirstAttempt.IsZero() {
			event.FirstAttempt = step.Began
		}
	}
	if step.Ambiguous && event.AmbiguousSince.IsZero() {
		event.AmbiguousSince = step.Began
	}
	event.Last, event.Outcome = *step, step.Outcome
	event.Alone = step.Reason == mapping.ReasonBulkUnclear || step.Reason == mapping.ReasonUnexpectedAnswer
	if step.Outcome != adapter.Pending {
		if step.Upsert && (step.Outcome == adapter.Delivered || step.Outcome == adapter.Duplicate) {
			q.supersede(event)
		}
		return
	}
	if step.Upsert && !step.Began.IsZero() {
		event.Tries++
	}
	if step.Began.IsZero() {
		q.stats.Parks++
	}
	event.Due = step.Due
	event.Wait = step.Due.Sub(step.At)
	q.offer(event)
}

// Release makes leased events due at once.
func (q *Queue) Release(_ context.Context, leased []*adapter.Leased) error {
	if err := q.fault("release"); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range leased {
		if event := q.events[l.ID-1]; event.Lease == l.Token {
			q.drop(event)
			event.Due = q.Now()
			q.offer(event)
		}
	}
	return nil
}

// Wake returns a channel that receives after an Accept.
func (q *Queue) Wake() <-chan struct{} { return q.wake }

// Operations are the operations that can fail.
var Operations = []string{"accept", "lease", "mark", "record", "release"}

// Fail makes operations fail with err from now on, or succeed again if err is nil. Default: all
// Operations.
func (q *Queue) Fail(err error, operations ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(operations) == 0 {
		operations = Operations
	}
	for _, operation := range operations {
		q.failing[operation] = err
	}
}

// fault returns the error of an operation that is to fail.
func (q *Queue) fault(operation string) error {
	q.mu.Lock()
	err := q.failing[operation]
	q.mu.Unlock()
	if err != nil {
		return err
	}
	return q.Fault(operation)
}

// Restart does what a store does when it is opened after a crash. Leases without an end of their own
// are gone, because they were never on disk.
func (q *Queue) Restart() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.replicas++
	q.process = q.replicas
	for _, event := range q.events {
		if event.Lease != 0 && q.LeaseFor == 0 {
			q.drop(event)
			q.offer(event)
		}
	}
}

// Replica is what one of several processes sees of a Queue. LeaseFor must be set.
type Replica struct {
	*Queue
	process int
}

// Replica returns the Queue as a process sees it that starts now, beside others.
func (q *Queue) Replica() *Replica {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.replicas++
	return &Replica{q, q.replicas}
}

// Lease is Queue.Lease for this process.
func (r *Replica) Lease(ctx context.Context, limit int, maxBytes int64) ([]adapter.Leased, error) {
	return r.lease(ctx, limit, maxBytes, r.process)
}

// LeaseParked is Queue.LeaseParked for this process.
func (r *Replica) LeaseParked(
	_ context.Context, parked []adapter.Parked, maxBytes int64,
) ([]adapter.Leased, error) {
	return r.leaseParked(parked, maxBytes, r.process)
}

// Pending returns how many events have no outcome.
func (q *Queue) Pending() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, event := range q.events {
		if event.Outcome == adapter.Pending {
			n++
		}
	}
	return n
}

// Stats returns what the queue did so far.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stats
}

// Arrivals returns what the last Accept that succeeded was given.
func (q *Queue) Arrivals() []adapter.Arrival {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.arrivals
}

// Event returns the event with the messageId, the oldest if there are several.
func (q *Queue) Event(messageID string) Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, event := range q.events {
		if event.MessageID == messageID {
			return *event
		}
	}
	q.t.Errorf("no event %s", messageID)
	return Event{}
}

// Numbered returns an event by its place in the order of acceptance, from 0.
func (q *Queue) Numbered(n int) Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	return *q.events[n]
}

// Events returns all events in the order of acceptance.
func (q *Queue) Events() []Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := make([]Event, len(q.events))
	for i, event := range q.events {
		events[i] = *event
	}
	return events
}

// Change changes an event by its place in the order of acceptance, from 0.
func (q *Queue) Change(n int, change func(*Event)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change(q.events[n])
}

// Purge ends the lease of an event, and gives it the outcome Dead.
func (q *Queue) Purge(n int) {
	q.Change(n, func(event *Event) {
		q.drop(event)
		event.Outcome = adapter.Dead
	})
}

// dueEntry says when an event is due. An entry of the past has another time than its event.
type dueEntry struct {
	at time.Time
	id int64
}

// dueHeap has the entry that is due first in front.
type dueHeap []dueEntry

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	if c := h[i].at.Compare(h[j].at); c != 0 {
		return c < 0
	}
	return h[i].id < h[j].id
}
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)   { *h = append(*h, x.(dueEntry)) }
func (h *dueHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
