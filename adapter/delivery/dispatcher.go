package delivery

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"segment-saasquatch/adapter"
)

// Dispatcher delivers the events of one connection from its queue, until each has
// its outcome. Events of one user are sent one after the other, in the order in
// which they were accepted; one that fails is tried again on a schedule of its
// own, and does not hold up those behind it, unless it is the upsert of an identify:
// the later events of its user wait for that, until it was tried ten times. What
// is accepted by another process, or by the next one, may overtake it. Of a user with
// so many events that others would have to wait, some are put back, and come forward as
// soon as their turn comes.
//
// An event with an idempotency key is processed once, but for one hole: if the
// process dies between an attempt and its recording, and no other attempt follows
// within SaaSquatch's 24 h, the next one delivers the event a second time. Upserts are
// idempotent and may be repeated at any time; an old one that is repeated late can
// overwrite what a newer one has brought.
type Dispatcher struct {
	mapper  Mapper
	sender  adapter.Sender
	breaker *Breaker
	queue   adapter.Queue
	DispatcherOptions

	userQueues userQueues
	barriers   barriers
	overdue    overdue
	uptime     uptime
	troubled   atomic.Bool // recording fails, and somebody has been told
}

// DispatcherOptions are a Dispatcher's choices.
type DispatcherOptions struct {
	// Policy spaces the attempts at an event. Default: DispatchRetryPolicy().
	Policy RetryPolicy
	// Horizon is how long an event is tried, from the first attempt that SaaSquatch
	// may have processed, or else from the first that counts. SaaSquatch forgets a
	// key after 24 h; after that an attempt could deliver an event a second time. An
	// event that no attempt can have delivered is tried once more even if the tenant
	// was paused until after the horizon. If the process was down, the machine suspended
	// or the clock moved forward, it is tried for at least another hour. Default: 23 h.
	Horizon time.Duration
	// UnkeyedDead gives an event without an idempotency key up as soon as
	// SaaSquatch may have processed it, instead of risking to send it twice.
	// Default: false.
	UnkeyedDead bool
	// Concurrency is the most requests that the breaker lets be under way at once.
	// Default: DefaultConcurrency.
	Concurrency int
	// AttemptTimeout is how long the Sender takes at most. Default: 10 s.
	AttemptTimeout time.Duration
	// Now is the clock. Leases end by it, so it should be the Now of a [Clock], which a
	// suspended machine does not stop. Default: that of a Clock.
	Now func() time.Time
	// Random is the source of jitter, uniform in [0,1). Default: math/rand/v2.
	Random func() float64
	// Record is told the outcome of every event, once the queue has it. It is
	// called by several goroutines at once. Default: nobody is told.
	Record func(adapter.Result)
	// OnPanic is told of panics in mapping and sending. Default: nobody is told.
	OnPanic PanicFunc
	// OnError is told when the queue begins to fail, and of leases that were lost.
	// Default: nobody is told.
	OnError func(error)
}

// DispatchRetryPolicy returns the policy for delivery after the answer: some
// seconds at first, and half an hour at most.
func DispatchRetryPolicy() RetryPolicy {
	return RetryPolicy{Base: 4 * time.Second, Max: 30 * time.Minute, MaxRetryAfter: time.Hour}
}

// NewDispatcher returns a Dispatcher from queue through breaker to sender.
func NewDispatcher(mapper Mapper, sender adapter.Sender, breaker *Breaker, queue adapter.Queue, opts DispatcherOptions) *Dispatcher {
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
	return &Dispatcher{mapper: mapper, sender: sender, breaker: breaker, queue: queue, DispatcherOptions: opts, userQueues: newUserQueues(), barriers: newBarriers()}
}

const (
	// windowEvents and windowBytes bound what a Dispatcher has in hand.
	windowEvents = 2048
	windowBytes  = 32 << 20
	// pollInterval is how soon an event that has become due is noticed.
	pollInterval = 500 * time.Millisecond
	// parkInterval is how often room is made for users who may be waiting for it.
	parkInterval = 200 * time.Millisecond
	// releaseTimeout bounds how long a Dispatcher that is told to end tries to
	// record and release. What it cannot is safe: the leases end by themselves.
	releaseTimeout = 5 * time.Second
	// unparkTimeout bounds how long it goes on making parked events due.
	unparkTimeout = 2 * time.Second
)

// leaseRest is the rest after a failure of the queue.
var leaseRest = adapter.Backoff{Base: 250 * time.Millisecond, Max: 5 * time.Second}

// Run delivers until ctx ends. Then it starts no attempt any more, waits for those
// under way and records them, and gives back the rest. It returns an error only
// if that fails; the events are safe then too.
func (d *Dispatcher) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	// Twice as many as can have a request under way, so that none of those is
	// idle while outcomes are being recorded.
	for range 2 * d.Concurrency {
		workers.Go(func() {
			for {
				userQueue := d.userQueues.next(ctx)
				if userQueue == nil {
					return
				}
				if !d.deliver(ctx, d.userQueues.front(userQueue)) {
					return // ctx has ended, and the event stays in hand until it is given back
				}
				d.userQueues.done(userQueue)
			}
		})
	}
	d.fill(ctx)
	workers.Wait()
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

// fill keeps the userQueues filled.
func (d *Dispatcher) fill(ctx context.Context) {
	rest := leaseRest
	failing := false
	for ctx.Err() == nil {
		d.uptime.at(d.Now())
		room, bytes := d.userQueues.room()
		if room < windowEvents/2 || bytes < windowBytes/2 {
			if surplus := d.userQueues.surplus(2*d.Concurrency, d.Now()); len(surplus) > 0 {
				d.park(ctx, surplus)
			} else {
				d.userQueues.awaitRoom(ctx, parkInterval)
			}
			continue
		}
		leased, err := d.lease(ctx, room, bytes)
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
		if len(leased) == 0 {
			d.awaitDue(ctx)
			continue
		}
		d.park(ctx, d.userQueues.add(leased, d.Now()))
	}
}

// lease leases due events. Before that, parked ones come forward into half of the room.
func (d *Dispatcher) lease(ctx context.Context, room int, bytes int64) ([]adapter.Leased, error) {
	events, size, err := d.comeForward(ctx, room/2, bytes/2)
	if err != nil || size >= bytes {
		return nil, err
	}
	return d.queue.Lease(ctx, room-events, bytes-size)
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

// parkers is how many parked events are recorded at once.
const parkers = 64

// park puts events back for which their users have no time yet.
func (d *Dispatcher) park(ctx context.Context, surplus []parkedEvent) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(parkers, len(surplus)) {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(surplus) {
					return
				}
				d.recordStep(ctx, surplus[i].leased, &adapter.Step{Outcome: adapter.Pending, At: d.Now(), Due: surplus[i].due})
			}
		})
	}
	workers.Wait()
}

// trouble tells of a queue that begins to fail at anything but leasing.
func (d *Dispatcher) trouble(err error) {
	if !d.troubled.Swap(true) {
		d.OnError(err)
	}
}
