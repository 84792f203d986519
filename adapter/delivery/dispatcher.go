package delivery

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"segment-saasquatch/adapter"
)

// Dispatcher delivers the events of one connection from its queue, until each has its outcome. It
// sends the events of one user one after the other, in the order of acceptance. An event that fails
// is retried on its own schedule and does not hold up later ones. The upsert of an identify is
// different: the later events of its user wait for it, until it was tried ten times, in this process
// and in others. If one user has so many events that others would have to wait, the Dispatcher parks
// some of them, and leases them again when their turn comes.
//
// Steps are recorded behind the attempts, many at once. The next event of the user may be sent
// meanwhile, unless the step is that of an upsert. If the process dies before that, the next process
// makes the attempt again.
//
// An event with an idempotency key is processed once, with one hole: if the process dies between an
// attempt and its record, and no other attempt follows within SaaSquatch's 24 h, the next attempt
// delivers the event a second time. Of an event without a key the attempt is recorded before its
// worker goes on. Upserts are idempotent and may be repeated at any time.
type Dispatcher struct {
	mapper  Mapper
	sender  adapter.Sender
	bulk    adapter.BulkSender // nil if each event has a call of its own
	breaker *Breaker
	queue   adapter.Queue
	DispatcherOptions

	userQueues userQueues
	recorder   *stepRecorder
	// leasing has one place, which is taken from a lease until its events are in their user queues. It
	// is no mutex, because a lease can wait.
	leasing  chan struct{}
	uptime   uptime
	troubled atomic.Bool // the queue fails, and OnError was told
}

// DispatcherOptions are a Dispatcher's choices.
type DispatcherOptions struct {
	// Policy spaces the attempts at an event. Default: DispatchRetryPolicy().
	Policy RetryPolicy
	// Horizon is how long an event is tried: from the first attempt that SaaSquatch may have
	// processed, or else from the first attempt that counts. SaaSquatch forgets a key after 24 h.
	// After that an attempt could deliver an event a second time. An event that no attempt can have
	// delivered is tried once more even if the tenant was paused until after the horizon. If the
	// process was down, the machine suspended or the clock moved forward, it is tried for at least
	// another hour. Default: 23 h.
	Horizon time.Duration
	// UnkeyedDead gives up an event without an idempotency key as soon as SaaSquatch may have
	// processed it, instead of risking to send it twice. Default: false.
	UnkeyedDead bool
	// Concurrency is the most requests that the breaker lets be in flight at once. Default:
	// adapter.DefaultConcurrency.
	Concurrency int
	// Bulk is the most events of a call to SaaSquatch. Events without an idempotency key have calls
	// of their own, and so have all events if the Sender is no [adapter.BulkSender]. A call takes the
	// events that wait, one of each user, and waits for no more. Default: 1.
	Bulk int
	// AttemptTimeout is the most time that the Sender takes. Default: 10 s.
	AttemptTimeout time.Duration
	// Now is the clock. Leases end by it. So it should be the Now of an [adapter.Clock], which goes
	// on while the machine is suspended. Default: that of a Clock.
	Now func() time.Time
	// Random is the source of jitter, uniform in [0,1). Default: math/rand/v2.
	Random func() float64
	// Record is told the outcome of every event, once the queue has it. Several goroutines call it
	// at once. Default: none.
	Record func(adapter.Result)
	// OnPanic is told of panics in mapping and sending. Default: none.
	OnPanic PanicFunc
	// OnError is told when the queue begins to fail, and of lost leases. Default: none.
	OnError func(error)
}

// DispatchRetryPolicy returns the policy for delivery after the answer: some seconds at first, half
// an hour at most.
func DispatchRetryPolicy() RetryPolicy {
	return RetryPolicy{Base: 4 * time.Second, Max: 30 * time.Minute, MaxRetryAfter: time.Hour}
}

// NewDispatcher returns a Dispatcher that sends from queue through sender, when breaker permits it.
func NewDispatcher(mapper Mapper, sender adapter.Sender, breaker *Breaker, queue adapter.Queue,
	opts DispatcherOptions) *Dispatcher {
	if opts.Policy == (RetryPolicy{}) {
		opts.Policy = DispatchRetryPolicy()
	}
	if opts.Horizon <= 0 {
		opts.Horizon = adapter.DefaultHorizon
	}
	if opts.Concurrency <= 0 {
		opts.Concurrency = adapter.DefaultConcurrency
	}
	if opts.AttemptTimeout <= 0 {
		opts.AttemptTimeout = 10 * time.Second
	}
	if opts.Now == nil {
		opts.Now = adapter.NewClock(adapter.ClockOptions{}).Now
	}
	if opts.Random == nil {
		opts.Random = randomFloat
	}
	if opts.Record == nil {
		opts.Record = func(adapter.Result) {}
	}
	if opts.OnPanic == nil {
		opts.OnPanic = func(any, []byte) {}
	}
	if opts.OnError == nil {
		opts.OnError = func(error) {}
	}
	record := opts.Record
	opts.Record = func(result adapter.Result) {
		defer contain(opts.OnPanic)
		record(result)
	}
	d := &Dispatcher{mapper: mapper, sender: sender, breaker: breaker, queue: queue, DispatcherOptions: opts,
		userQueues: newUserQueues(), leasing: make(chan struct{}, 1)}
	if bulk, ok := sender.(adapter.BulkSender); ok && opts.Bulk > 1 {
		d.bulk = bulk
	}
	d.recorder = newStepRecorder(queue, d.trouble, d.OnError, func() { d.troubled.Store(false) })
	return d
}

const (
	// windowEvents and windowBytes bound the leased events of a Dispatcher.
	windowEvents = 4096
	windowBytes  = 32 << 20
	// pollInterval is how soon a Dispatcher notices that an event has become due.
	pollInterval = 500 * time.Millisecond
	// parkInterval is how often a Dispatcher makes room for users who may wait for it.
	parkInterval = 200 * time.Millisecond
	// releaseTimeout bounds how long a Dispatcher that is told to end tries to record and release.
	// Events that it cannot release are safe: their leases end by themselves.
	releaseTimeout = 5 * time.Second
	// unparkTimeout bounds how long it makes parked events due.
	unparkTimeout = 2 * time.Second
)

// leaseRest is the wait after a failure of the queue.
var leaseRest = adapter.Backoff{Base: 250 * time.Millisecond, Max: 5 * time.Second}

// Run delivers until ctx ends. Then it starts no further attempt, waits for the attempts in flight,
// records them and releases the other events. It returns an error only if that fails. The events
// are safe then too.
func (d *Dispatcher) Run(ctx context.Context) error {
	var workers, recording sync.WaitGroup
	recording.Go(func() { d.recorder.run(ctx) })
	// Twice as many as can have a request in flight, so that no request waits for a worker that maps
	// an event or waits for a record.
	for range 2 * d.Concurrency {
		workers.Go(func() {
			for d.work(ctx) {
			}
		})
	}
	d.fill(ctx)
	workers.Wait()
	d.recorder.close()
	recording.Wait()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if left := d.userQueues.clear(); len(left) > 0 {
		if err := d.queue.Release(ending, left); err != nil {
			return err
		}
	}
	unparking, cancel := context.WithTimeout(ending, unparkTimeout)
	defer cancel()
	return d.unpark(unparking)
}

// fill keeps the user queues filled.
func (d *Dispatcher) fill(ctx context.Context) {
	rest := leaseRest
	failing := false
	for ctx.Err() == nil {
		d.uptime.at(d.Now())
		room, bytes := d.userQueues.room()
		if room < windowEvents/2 || bytes < windowBytes/2 {
			if surplus := d.userQueues.surplus(d.parallel(), d.Now()); len(surplus) > 0 {
				d.park(surplus)
			} else {
				d.userQueues.awaitRoom(ctx, parkInterval)
			}
			continue
		}
		behind, n, err := d.lease(ctx, room, bytes)
		if err != nil {
			if !failing && ctx.Err() == nil {
				d.OnError(fmt.Errorf("lease events: %w", err))
			}
			failing = true
			_ = adapter.Wait(ctx, rest.Next()) // the loop looks at ctx
			continue
		}
		failing = false
		rest.Reset()
		if n == 0 {
			d.awaitDue(ctx)
			continue
		}
		d.park(behind)
	}
}

// parallel returns how many users' events can be on their way at once.
func (d *Dispatcher) parallel() int {
	if d.bulk == nil {
		return 2 * d.Concurrency
	}
	return min(2*d.Concurrency*d.Bulk, windowEvents/4)
}

// lease leases due events into the user queues, and returns their number and those to park. Before
// that it leases parked events into half of the room.
func (d *Dispatcher) lease(ctx context.Context, room int, bytes int64) (behind []parkedEvent, n int, err error) {
	d.leasing <- struct{}{}
	defer func() { <-d.leasing }()
	d.userQueues.beginLease()
	events, size, err := d.comeForward(ctx, room/2, bytes/2)
	if err != nil || size >= bytes {
		return nil, 0, err
	}
	leased, err := d.queue.Lease(ctx, room-events, bytes-size)
	if err != nil {
		return nil, 0, err
	}
	return d.userQueues.add(leased, d.Now()), len(leased), nil
}

// awaitDue waits until there may be something to lease.
func (d *Dispatcher) awaitDue(ctx context.Context) {
	timer := time.NewTimer(pollInterval)
	defer timer.Stop()
	select {
	case <-d.queue.Wake():
	case <-d.userQueues.parked.short:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// park puts back events into the queue, until their users have room for them.
func (d *Dispatcher) park(surplus []parkedEvent) {
	if len(surplus) > 0 {
		d.recorder.handAndWait(d.parked(surplus)...)
	}
}

// parked returns the steps that put back events.
func (d *Dispatcher) parked(events []parkedEvent) []handedStep {
	steps := make([]handedStep, len(events))
	now := d.Now()
	for i, event := range events {
		steps[i] = d.stepOf(event.leased, putBack(now, event.due), nil)
	}
	return steps
}

// putBack is the step of an event that goes back without an attempt.
func putBack(at, due time.Time) adapter.Step {
	return adapter.Step{Outcome: adapter.Pending, At: at, Due: due}
}

// stepOf returns a step to record. Its event has left the window when it is recorded.
func (d *Dispatcher) stepOf(event *adapter.Leased, step adapter.Step, then func(recorded bool)) handedStep {
	return handedStep{
		Recording: adapter.Recording{Leased: event, Step: step},
		after: func(recorded bool) {
			d.userQueues.recorded(event)
			if then != nil {
				then(recorded)
			}
		},
	}
}

// trouble reports that the queue has begun to fail at something else than leasing.
func (d *Dispatcher) trouble(err error) {
	if !d.troubled.Swap(true) {
		d.OnError(err)
	}
}
