package adapter

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"segment-saasquatch/mapping"
)

// Direct delivers the events of a request before it answers, and keeps nothing:
// what is not settled within its budget must be sent again by Segment, which
// then finds the delivered part to be duplicates. Rejected and dead events leave
// no trace but their log line.
type Direct struct {
	mapper    *mapping.Mapper
	forwarder *Forwarder
	budget    time.Duration
	now       func() time.Time
	record    func(Result)
	late      sync.WaitGroup
}

// DirectOptions are the choices of direct delivery.
type DirectOptions struct {
	// Budget is how long an answer may wait for outcomes. Segment gives 5 s.
	// Default: 4 s.
	Budget time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Record is told the result of every event, and once more that of an event
	// that was pending in the answer and has its outcome since. It is called by several goroutines at
	// once. Default: nobody is told.
	Record func(Result)
}

// DefaultBudget leaves a second of the five that Segment's classic webhooks give.
const DefaultBudget = 4 * time.Second

// NewDirect returns direct delivery by mapper and forwarder.
func NewDirect(mapper *mapping.Mapper, forwarder *Forwarder, opts DirectOptions) *Direct {
	if opts.Budget <= 0 {
		opts.Budget = DefaultBudget
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Record == nil {
		opts.Record = func(Result) {}
	}
	return &Direct{mapper: mapper, forwarder: forwarder, budget: opts.Budget, now: opts.Now, record: opts.Record}
}

// Accept maps and sends the events. It returns when each has its outcome, when
// the budget is over or when ctx ends; attempts under way then go on without the
// caller. Events of one user are sent in their order, one after the other. It
// never returns an error.
func (d *Direct) Accept(ctx context.Context, events [][]byte) (Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, d.budget)
	defer cancel()

	request := d.newRequest(events)
	if len(request.users) > 0 {
		d.send(ctx, request)
		select {
		case <-request.settled:
		case <-ctx.Done():
		}
	}
	receipt := Receipt{Results: request.close()}
	for i := range receipt.Results {
		result := &receipt.Results[i]
		receipt.Redeliver = receipt.Redeliver || !result.Outcome.Settled()
		if !result.recorded {
			d.record(*result)
		}
	}
	close(request.answered)
	return receipt, nil
}

// newRequest maps the events and sorts those to send by user.
func (d *Direct) newRequest(events [][]byte) *request {
	r := &request{results: make([]Result, len(events)), settled: make(chan struct{}), answered: make(chan struct{})}
	deliveries := d.mapAll(events, r.results)
	last := make(map[user]*delivery, len(events))
	for i := range deliveries {
		current := &deliveries[i]
		if current.event.Body == nil {
			continue
		}
		r.open.Add(1)
		of := user{current.event.AccountID, current.event.UserID}
		if previous := last[of]; previous != nil {
			previous.next = current
		} else {
			r.users = append(r.users, current)
		}
		last[of] = current
	}
	return r
}

// mapChunk is how many events a goroutine maps at a time, enough to outweigh the
// cost of a goroutine.
const mapChunk = 32

// mapAll maps the events on all processors and fills in their results. The
// deliveries of events that are not to be sent have no body.
func (d *Direct) mapAll(events [][]byte, results []Result) []delivery {
	now := d.now()
	deliveries := make([]delivery, len(events))
	var taken atomic.Int64
	var panicked atomic.Pointer[any]
	work := func() {
		// A panic goes on where the request is handled, instead of ending the process.
		defer func() {
			if cause := recover(); cause != nil {
				panicked.Store(&cause)
			}
		}()
		for {
			end := int(taken.Add(mapChunk))
			for i := end - mapChunk; i < min(end, len(events)); i++ {
				mapped := d.mapper.Map(events[i], now)
				results[i] = resultOf(i, &mapped)
				deliveries[i] = delivery{index: i, event: mapped.UserEvent, messageID: mapped.MessageID}
			}
			if end >= len(events) {
				return
			}
		}
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (len(events)+mapChunk-1)/mapChunk) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
	if cause := panicked.Load(); cause != nil {
		panic(*cause)
	}
	return deliveries
}

// resultOf is the result of an event that was mapped but not sent.
func resultOf(index int, mapped *mapping.Result) Result {
	result := Result{Index: index, MessageID: mapped.MessageID, Reason: Reason(mapped.Reason), Detail: mapped.Detail, Warnings: mapped.Warnings}
	switch mapped.Kind {
	case mapping.KindSkip:
		result.Outcome = Skipped
	case mapping.KindReject:
		result.Outcome = Rejected
	default:
		result.Outcome, result.Reason = Pending, ReasonBudgetExceeded
		result.Detail = "no outcome by the time the answer was due"
		result.EventKey, result.IdempotencyKey = mapped.UserEvent.Key, mapped.UserEvent.IdempotencyKey
	}
	return result
}

// send starts as many goroutines as can have a request under way.
func (d *Direct) send(ctx context.Context, r *request) {
	for range min(d.forwarder.Concurrency(), len(r.users)) {
		d.late.Go(func() {
			for {
				next := int(r.taken.Add(1)) - 1
				if next >= len(r.users) {
					return
				}
				d.sendUser(ctx, r, r.users[next])
			}
		})
	}
}

// sendUser sends a user's events in their order. Once one of them is pending,
// those behind it are not sent, or they would overtake it.
func (d *Direct) sendUser(ctx context.Context, r *request, event *delivery) {
	for ; event != nil; event = event.next {
		if fault := r.misconfigured.Load(); fault != nil {
			// One refusal is enough to know that no event of the request can pass.
			r.settle(event.index, d.record, func(result *Result) { result.Reason, result.Detail = fault.Reason, fault.Detail })
			continue
		}
		if d.sendOne(ctx, r, event) {
			continue
		}
		for event = event.next; event != nil; event = event.next {
			r.settle(event.index, d.record, func(result *Result) { result.Detail = "an earlier event of the same user is pending" })
		}
		return
	}
}

// sendOne sends an event and reports whether it has its outcome.
func (d *Direct) sendOne(ctx context.Context, r *request, event *delivery) bool {
	started := d.now()
	attempt, attempts := d.forwarder.Forward(ctx, &event.event, event.messageID)
	if attempt.Misconfigured {
		r.misconfigured.Store(&attempt)
	}
	r.settle(event.index, d.record, func(result *Result) {
		result.Outcome, result.Reason, result.Detail = attempt.Outcome, attempt.Reason, attempt.Detail
		result.Status, result.Attempts = attempt.Status, attempts
		result.Duration = d.now().Sub(started)
	})
	return attempt.Outcome.Settled()
}

// Stop waits for the attempts that outlived their request, until ctx ends. No
// Accept may start any more.
func (d *Direct) Stop(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		d.late.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for attempts under way: %w", ctx.Err())
	}
}
