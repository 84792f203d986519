package delivery_test

import (
	"container/heap"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
)

var errStore = errors.New("the store is out of order")

// simulatedQueue is a Queue in memory that barriers a Dispatcher to the contract. It
// can fail, hand out leases that end, and outlive a crash of its user.
type simulatedQueue struct {
	t        testing.TB
	leaseFor time.Duration // how long leases last, 0 until they are ended
	// fault is asked before every operation. Default: none fails.
	fault func(operation string) error
	// now is the clock of the process, and clock that of the database, by which leases
	// end. Default: time.Now for both.
	now, clock func() time.Time
	// overstated is how much later than in truth the process takes its leases to end.
	overstated time.Duration
	// unknown is asked after a Record that succeeded. If it says so, the caller gets an error
	// in spite of that, as after a COMMIT without a reply. Default: never.
	unknown func() bool
	// takes is how long a Record takes.
	takes time.Duration

	mu         sync.Mutex
	events     []*simulatedEvent // by ID-1
	due        dueHeap
	wake       chan struct{}
	token      int64
	records    int // Records that succeeded, those that put back without an attempt among them
	parks      int // of those, the ones without an attempt
	inHand     int
	bytes      int64
	mostInHand int
	mostBytes  int64
}

// simulatedEvent is an event and what the queue knows of it.
type simulatedEvent struct {
	adapter.Leased
	keyed bool
	due   time.Time
	lease int64 // the token it is leased under, 0 if it is not
	// leasedUntil is when the lease ends, on the database's clock.
	leasedUntil time.Time
	marked      bool // an attempt was marked as begun, and no end recorded
	outcome     adapter.Outcome
	last        adapter.Step
	recorded    int64 // the token of the last Record
	untold      bool  // its caller got an error in spite of it, and has not asked again
	attempts    int   // that were recorded, counted or not
	dueBefore   time.Duration
}

func newSimulatedQueue(t testing.TB) *simulatedQueue {
	return &simulatedQueue{t: t, fault: func(string) error { return nil }, unknown: func() bool { return false }, now: time.Now, clock: time.Now, wake: make(chan struct{}, 1)}
}

func (q *simulatedQueue) Accept(_ context.Context, arrivals []adapter.Arrival) error {
	if err := q.fault("accept"); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range arrivals {
		a := &arrivals[i]
		now := q.now()
		event := &simulatedEvent{
			Leased: adapter.Leased{
				ID: int64(len(q.events) + 1), MessageID: a.MessageID, UserID: a.UserID, AccountID: a.AccountID,
				Payload: slices.Clone(a.Payload), ReceivedAt: now,
			},
			keyed: a.Keyed, due: now, outcome: a.Outcome,
		}
		q.events = append(q.events, event)
		if a.Outcome == adapter.Pending {
			q.offer(event)
		}
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// offer has the event be leased when it is due.
func (q *simulatedQueue) offer(event *simulatedEvent) {
	heap.Push(&q.due, dueEntry{event.due, event.ID})
}

func (q *simulatedQueue) Lease(_ context.Context, limit int, maxBytes int64) (leased []adapter.Leased, err error) {
	if err := q.fault("lease"); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if limit <= 0 || maxBytes <= 0 {
		q.t.Errorf("lease of %d events and %d bytes", limit, maxBytes)
	}
	now := q.now()
	if q.leaseFor > 0 && q.inHand > 0 {
		q.endLeases(now)
	}
	for len(q.due) > 0 && !q.due[0].at.After(now) && len(leased) < limit {
		entry := q.due[0]
		event := q.events[entry.id-1]
		if event.outcome != adapter.Pending || !event.due.Equal(entry.at) || event.lease != 0 {
			heap.Pop(&q.due) // it is of the past
			continue
		}
		if maxBytes -= int64(len(event.Payload)); maxBytes < 0 && len(leased) > 0 {
			break
		}
		heap.Pop(&q.due)
		leased = append(leased, q.take(event, now))
	}
	return leased, nil
}

// LeaseParked leaves the entries of the events in the heap, for they are of the past then.
func (q *simulatedQueue) LeaseParked(_ context.Context, parked []adapter.Parked, maxBytes int64) (leased []adapter.Leased, err error) {
	if err := q.fault("lease"); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(parked) == 0 || maxBytes <= 0 {
		q.t.Errorf("lease of %d parked events and %d bytes", len(parked), maxBytes)
	}
	now := q.now()
	for _, p := range parked {
		event := q.events[p.ID-1]
		if event.outcome != adapter.Pending || !event.due.Equal(p.Due) || event.lease != 0 {
			continue
		}
		if maxBytes -= int64(len(event.Payload)); maxBytes < 0 && len(leased) > 0 {
			break
		}
		leased = append(leased, q.take(event, now))
	}
	return leased, nil
}

// take leases an event.
func (q *simulatedQueue) take(event *simulatedEvent, now time.Time) adapter.Leased {
	q.token++
	event.lease, event.Token, event.Interrupted = q.token, q.token, event.marked
	if q.leaseFor > 0 {
		event.Until, event.leasedUntil = now.Add(q.leaseFor+q.overstated), q.clock().Add(q.leaseFor)
	}
	q.inHand++
	q.bytes += int64(len(event.Payload))
	q.mostInHand, q.mostBytes = max(q.mostInHand, q.inHand), max(q.mostBytes, q.bytes)
	return event.Leased
}

// endLeases has events be due whose leases are over by the database's clock.
func (q *simulatedQueue) endLeases(now time.Time) {
	for _, event := range q.events {
		if event.lease != 0 && !q.clock().Before(event.leasedUntil) {
			q.drop(event)
			event.due = now
			q.offer(event)
		}
	}
}

// drop ends the event's lease, if there is one.
func (q *simulatedQueue) drop(event *simulatedEvent) {
	if event.lease != 0 {
		event.lease = 0
		q.inHand--
		q.bytes -= int64(len(event.Payload))
	}
}

func (q *simulatedQueue) MarkSending(_ context.Context, leased *adapter.Leased) error {
	if err := q.fault("mark"); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	event := q.events[leased.ID-1]
	if event.lease != leased.Token {
		return adapter.ErrLeaseLost
	}
	event.marked = true
	return nil
}

func (q *simulatedQueue) Record(_ context.Context, leased *adapter.Leased, step adapter.Step) (err error) {
	time.Sleep(q.takes) // on the fake clock
	if err := q.fault("record"); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	event := q.events[leased.ID-1]
	if event.recorded == leased.Token {
		event.untold = false
		return nil // the caller could not know
	}
	if event.lease != leased.Token {
		return adapter.ErrLeaseLost
	}
	event.recorded = leased.Token
	defer func() {
		if q.unknown() {
			event.untold = true
			err = &adapter.UnavailableError{Message: "the store cannot be reached"}
		}
	}()
	q.drop(event)
	q.records++
	event.marked = false
	if !step.Began.IsZero() {
		event.attempts++
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
	event.last, event.outcome = step, step.Outcome
	if step.Outcome != adapter.Pending {
		return nil
	}
	if step.Began.IsZero() {
		q.parks++
	}
	event.due = step.Due
	event.dueBefore = step.Due.Sub(step.At)
	q.offer(event)
	return nil
}

func (q *simulatedQueue) Release(_ context.Context, leased []*adapter.Leased) error {
	if err := q.fault("release"); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range leased {
		if event := q.events[l.ID-1]; event.lease == l.Token {
			q.drop(event)
			event.due = q.now()
			q.offer(event)
		}
	}
	return nil
}

func (q *simulatedQueue) Wake() <-chan struct{} { return q.wake }

// restart is what a store does when it is opened after a crash: leases that have
// no end of their own are gone, and were never on disk.
func (q *simulatedQueue) restart() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, event := range q.events {
		if event.lease != 0 && q.leaseFor == 0 {
			q.drop(event)
			q.offer(event)
		}
	}
}

// pending returns how many events have no outcome.
func (q *simulatedQueue) pending() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, event := range q.events {
		if event.outcome == adapter.Pending {
			n++
		}
	}
	return n
}

// event returns what the queue knows of the event with the messageId, the oldest if
// there are several.
func (q *simulatedQueue) event(messageID string) simulatedEvent {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, event := range q.events {
		if event.MessageID == messageID {
			return *event
		}
	}
	q.t.Errorf("no event %s", messageID)
	return simulatedEvent{}
}

// dueEntry says that an event is due, unless it has come to be due at another time.
type dueEntry struct {
	at time.Time
	id int64
}

// dueHeap has the entry in front that is due first.
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
