package delivery

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Direct delivers the events of a request before it answers, and keeps nothing. Segment must send
// again the events that are not settled within the budget. The delivered ones are duplicates then.
// Rejected and dead events leave no trace but their log line. An event whose mapping or sending
// panics is pending, and costs the other events nothing.
type Direct struct {
	mapper   Mapper
	retrier  *Retrier
	budget   time.Duration
	now      func() time.Time
	record   func(adapter.Result)
	panicked PanicFunc
	late     sync.WaitGroup
}

// DirectOptions are the choices of direct delivery.
type DirectOptions struct {
	// Budget is how long an answer may wait for outcomes. Segment gives 5 s. Default: 4 s.
	Budget time.Duration
	// Now is the clock. Default: that of an [adapter.Clock].
	Now func() time.Time
	// Record is told the result of every event. It is told once more the result of an event that
	// was pending in the answer and has its outcome since. Beyond the first hundred, the rejected
	// events of a request with one reason share a result, which has their number. Several
	// goroutines call it at once. Default: none.
	Record func(adapter.Result)
	// OnPanic is told of a panic in mapping, sending or recording an event. Default: none.
	OnPanic PanicFunc
}

// DefaultBudget leaves a second of the five that Segment's classic webhooks give.
const DefaultBudget = 4 * time.Second

// NewDirect returns direct delivery of events that mapper maps, through retrier.
func NewDirect(mapper Mapper, retrier *Retrier, opts DirectOptions) *Direct {
	if opts.Budget <= 0 {
		opts.Budget = DefaultBudget
	}
	if opts.Now == nil {
		opts.Now = adapter.NewClock(adapter.ClockOptions{}).Now
	}
	if opts.Record == nil {
		opts.Record = func(adapter.Result) {}
	}
	if opts.OnPanic == nil {
		opts.OnPanic = func(any, []byte) {}
	}
	record := func(result adapter.Result) {
		defer contain(opts.OnPanic)
		opts.Record(result)
	}
	return &Direct{mapper: mapper, retrier: retrier, budget: opts.Budget, now: opts.Now, record: record,
		panicked: opts.OnPanic}
}

// contain recovers from a panic, if it is deferred.
func contain(panicked PanicFunc) {
	if cause := recover(); cause != nil {
		panicked(cause, debug.Stack())
	}
}

// Accept maps and sends the events. It returns when each has its outcome, when the budget is over
// or when ctx ends. The end of ctx ends the evaluation of expressions. Attempts in flight go on
// without the caller. Events of one user are sent one after the other, in their order. Accept never
// returns an error.
func (d *Direct) Accept(ctx context.Context, events [][]byte) (adapter.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, d.budget)
	defer cancel()

	request := d.newRequest(ctx, events)
	defer close(request.answered)
	if len(request.users) > 0 {
		d.send(ctx, request)
		select {
		case <-request.settled:
		case <-ctx.Done():
		}
	}
	receipt := adapter.Receipt{Results: request.close()}
	recorder := requestRecorder{record: d.record}
	for i := range receipt.Results {
		result := &receipt.Results[i]
		receipt.Redeliver = receipt.Redeliver || !result.Outcome.Settled()
		if !request.recorded[i] {
			recorder.add(result)
		}
	}
	recorder.end()
	return receipt, nil
}

// newRequest maps the events and groups the events to send by user. Events whose expressions are
// not evaluated when ctx ends are pending.
func (d *Direct) newRequest(ctx context.Context, events [][]byte) *request {
	r := &request{
		results: make([]adapter.Result, len(events)), recorded: make([]bool, len(events)),
		settled: make(chan struct{}), answered: make(chan struct{}),
	}
	deliveries := make([]directEvent, len(events))
	mapAll(d.mapper, events, d.now(), mapping.Options{Done: ctx.Done()}, d.panicked,
		func(i int, mapped mapping.Result) {
			r.results[i] = resultOf(i, &mapped)
			deliveries[i] = directEvent{index: i, mapped: mapped}
		})
	last := make(map[user]*directEvent, len(events))
	for i := range deliveries {
		current := &deliveries[i]
		if !toSend(&current.mapped) {
			continue
		}
		r.open.Add(1)
		of := userOf(&current.mapped)
		if previous := last[of]; previous != nil {
			previous.next = current
		} else {
			r.users = append(r.users, current)
		}
		last[of] = current
	}
	return r
}

// resultOf returns the result of an event that was mapped but not sent.
func resultOf(index int, mapped *mapping.Result) adapter.Result {
	result := adapter.Result{Index: index, MessageID: mapped.MessageID, Reason: mapped.Reason, Detail: mapped.Detail,
		Warnings: mapped.Warnings}
	switch mapped.Kind {
	case mapping.KindSkip:
		result.Outcome = adapter.Skipped
	case mapping.KindReject:
		result.Outcome = adapter.Rejected
	case 0: // the mapping panicked
		result.Outcome, result.Reason, result.Detail = adapter.Pending, mapping.ReasonInternalError,
			internalErrorDetail
	default:
		result.Outcome, result.Reason = adapter.Pending, mapping.ReasonBudgetExceeded
		result.Detail = "no outcome by the time the answer was due"
		result.EventKey, result.IdempotencyKey = eventKeyOf(mapped), mapped.UserEvent.IdempotencyKey
	}
	return result
}

// send starts as many goroutines as can have a request in flight.
func (d *Direct) send(ctx context.Context, r *request) {
	for range min(d.retrier.Concurrency(), len(r.users)) {
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

// sendUser sends a user's events in their order. Once one of them is pending, later ones are not
// sent, because they would overtake it.
func (d *Direct) sendUser(ctx context.Context, r *request, event *directEvent) {
	for ; event != nil; event = event.next {
		if d.sendOne(ctx, r, event) {
			continue
		}
		for event = event.next; event != nil; event = event.next {
			r.settle(event.index, d.record, func(result *adapter.Result) {
				result.Detail = "an earlier event of the same user is pending"
			})
		}
		return
	}
}

// sendOne sends an event and reports whether it has its outcome.
func (d *Direct) sendOne(ctx context.Context, r *request, event *directEvent) bool {
	started := d.now()
	attempt, attempts := d.forward(ctx, event)
	r.settle(event.index, d.record, func(result *adapter.Result) {
		result.Outcome, result.Reason, result.Detail = attempt.Outcome, attempt.Reason, attempt.Detail
		result.Status, result.Call, result.Attempts = attempt.Status, attempt.Call, attempts
		result.Warnings = mergeWarnings(result.Warnings, attempt.Warnings)
		result.Duration = d.now().Sub(started)
	})
	return attempt.Outcome.Settled()
}

// forward sends an event. A panic makes the attempt pending.
func (d *Direct) forward(ctx context.Context, event *directEvent) (attempt adapter.Attempt, attempts int) {
	defer func() {
		if cause := recover(); cause != nil {
			attempt, attempts = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonInternalError,
				Detail: internalErrorDetail}, 1
			d.panicked(cause, debug.Stack())
		}
	}()
	return d.retrier.Deliver(ctx, &event.mapped)
}

// Stop waits for the attempts that outlived their request, until ctx ends. Accept must not be
// called any more.
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
		return fmt.Errorf("wait for attempts in flight: %w", ctx.Err())
	}
}
