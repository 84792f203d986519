package delivery

import (
	"container/list"
	"context"
	"sync"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"

	"golang.org/x/time/rate"
)

// Breaker decides when a request to one tenant may start. All senders to that tenant share it. It
// permits a request when
//
//   - the tenant is not paused: by an outage, by a configuration that it refuses, by answers that
//     are not SaaSquatch's, or by its Retry-After,
//   - fewer requests are in flight than the adaptive limit allows, and
//   - the rate limit has a token left.
//
// A pause for an outage or the configuration ends with a probe: a single request that is answered
// as a working tenant answers. After every pause the limit starts from its floor. Requests already
// in flight when a pause begins, or when the limit falls, go on.
//
// Callers get their permits in the order of their calls. A Breaker has no goroutine and needs no
// Stop: the first waiting caller keeps the time for all. It is safe for concurrent use.
type Breaker struct {
	random   func() float64
	onChange func(BreakerState)
	rate     *rate.Limiter // nil for no limit

	mu       sync.Mutex
	waiting  list.List // of *waiter, the first to start in front
	inFlight int
	started  uint64 // the number of permits given out
	limit    concurrencyLimit
	pause    pause
	foreign  foreignAnswers

	paused  bool // as noticed last; the pause itself is up to date
	since   time.Time
	changes []BreakerState // to be told to onChange
	telling bool           // a caller is telling them
}

// BreakerOptions are a Breaker's choices.
type BreakerOptions struct {
	// Floor and Ceiling bound how many requests may be in flight at once. A Floor above the Ceiling
	// counts as the Ceiling. Default: 4 and adapter.DefaultConcurrency.
	Floor, Ceiling int
	// RateLimit is how many permits are given out in a second at the most, 0 for no limit. An
	// attempt of several requests takes one. Default: 0.
	RateLimit float64
	// ForeignRest is how long no event must have had a proper answer, until foreign answers to
	// several events pause the tenant; see [adapter.Attempt].Foreign. So a firewall that stops some
	// events does not pause a busy tenant. A negative value is none: direct delivery must decide
	// within its budget. Default: 10 s.
	ForeignRest time.Duration
	// Random is the source of jitter, uniform in [0,1). Default: math/rand/v2.
	Random func() float64
	// OnChange is called once when the tenant is paused and once when it is resumed, by one
	// goroutine at a time and in this order. The end of a pause for Retry-After is noticed at the
	// next call of the Breaker, because no goroutine keeps the time while no caller waits. Default:
	// none.
	OnChange func(BreakerState)
}

// DefaultFloor is how many requests to a tenant may be in flight at once, however badly it answers.
const DefaultFloor = 4

// BreakerState is the state of a tenant's circuit breaker and limits.
type BreakerState struct {
	// Paused says that no request may start but a probe.
	Paused bool
	// Reason is why the tenant is paused, empty if it is not.
	Reason mapping.Reason
	// Cause and Detail are those of the attempt that paused the tenant, as in [adapter.Attempt].
	Cause  adapter.Cause
	Detail string
	// Since is when the pause began, zero if there is none.
	Since time.Time
	// Until is when the next request may start. It is zero if there is no pause, or if the end
	// depends on a probe in flight.
	Until time.Time
	// Limit is how many requests may be in flight at once, and InFlight how many are. InFlight
	// exceeds Limit for a while after Limit has fallen.
	Limit, InFlight int
}

// NewBreaker returns a Breaker that lets requests through.
func NewBreaker(opts BreakerOptions) *Breaker {
	if opts.Ceiling <= 0 {
		opts.Ceiling = adapter.DefaultConcurrency
	}
	if opts.Floor <= 0 {
		opts.Floor = DefaultFloor
	}
	if opts.ForeignRest == 0 {
		opts.ForeignRest = foreignRest
	}
	if opts.Random == nil {
		opts.Random = randomFloat
	}
	b := &Breaker{
		random:   opts.Random,
		onChange: opts.OnChange,
		limit:    newConcurrencyLimit(min(opts.Floor, opts.Ceiling), opts.Ceiling),
		pause:    newPause(),
		foreign:  foreignAnswers{rest: max(0, opts.ForeignRest)},
	}
	if opts.RateLimit > 0 {
		b.rate = rate.NewLimiter(rate.Limit(opts.RateLimit), max(1, int(opts.RateLimit/10)))
	}
	return b
}

// Permit allows one request to start. The caller must give it back by Done or Cancel.
type Permit struct {
	breaker    *Breaker
	number     uint64 // counts permits in the order of their start
	generation int    // of the pause, at the start
	event      uint64 // identifies the event in this process, 0 if unknown
	probe      bool
	started    time.Time
	over       bool
}

// waiter is a caller of Acquire that could not start at once.
type waiter struct {
	// wake carries the permit, or nil to have the caller look at the time again.
	wake chan *Permit
	// events is how many tokens of the rate limit the request takes.
	events int
	// alarm is when the caller's timer fires, zero if it has none.
	alarm time.Time
	// patient says that the caller waits for every pause.
	patient bool
}

// Acquire waits until a request may start, without a limit of its own. The error is that of ctx.
// The caller should start the request at once, because its time counts from here on.
func (b *Breaker) Acquire(ctx context.Context) (*Permit, error) { return b.acquire(ctx, 1, true) }

// pausedError means that the tenant is paused for longer than the caller can wait.
type pausedError struct{ state BreakerState }

func (e *pausedError) Error() string { return "the tenant is paused: " + string(e.state.Reason) }

// AcquireBulk waits until a request with several events may start, as Acquire does. The request is one
// to the circuit breaker and the concurrency limit. It takes a token of the rate limit for each
// event, of which there may be no more than Bulk allows.
func (b *Breaker) AcquireBulk(ctx context.Context, events int) (*Permit, error) {
	return b.acquire(ctx, events, true)
}

// Bulk returns how many of n events a request may have, which the rate limit bounds: a tenth of a
// second's.
func (b *Breaker) Bulk(n int) int {
	if b.rate == nil {
		return n
	}
	return min(n, b.rate.Burst())
}

// acquire waits for a permit. A caller that is not patient does not wait for a pause that outlasts
// ctx: it gets a pausedError at once.
func (b *Breaker) acquire(ctx context.Context, events int, patient bool) (*Permit, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	now := b.lock()
	if b.waiting.Len() == 0 && b.delay(events, now) == 0 {
		permit := b.start(events, now)
		b.unlock(now)
		return permit, nil
	}
	w := &waiter{wake: make(chan *Permit, 1), events: events, patient: patient}
	place := b.waiting.PushBack(w)
	var timer *time.Timer
	for {
		if !patient && b.outlasts(ctx, now) {
			state := b.state(now)
			b.waiting.Remove(place)
			b.admit(now)
			b.unlock(now)
			return nil, &pausedError{state}
		}
		var alarm <-chan time.Time
		if b.waiting.Front() == place {
			if delay := b.delay(events, now); delay == untilDone {
				w.alarm = time.Time{}
			} else {
				w.alarm = now.Add(delay)
				if timer == nil {
					timer = time.NewTimer(delay)
					defer timer.Stop()
				} else {
					timer.Reset(delay)
				}
				alarm = timer.C
			}
		}
		b.unlock(now)

		select {
		case permit := <-w.wake:
			if permit != nil {
				return permit, nil
			}
		case <-alarm:
		case <-ctx.Done():
			b.leave(place, w)
			return nil, ctx.Err()
		}
		now = b.lock()
		b.admit(now)
		select {
		case permit := <-w.wake: // from admit, just now
			if permit != nil {
				b.unlock(now)
				return permit, nil
			}
		default:
		}
	}
}

// outlasts reports whether the pause ends after the deadline of ctx.
func (b *Breaker) outlasts(ctx context.Context, now time.Time) bool {
	deadline, ok := ctx.Deadline()
	delay := b.pause.delay(now)
	return ok && delay > 0 && delay != untilDone && now.Add(delay).After(deadline)
}

// leave takes a caller out of the queue. If the caller got a permit meanwhile, leave gives it back.
func (b *Breaker) leave(place *list.Element, w *waiter) {
	now := b.lock()
	defer b.unlock(now)
	select {
	case permit := <-w.wake:
		if permit != nil {
			permit.cancel()
		}
	default:
	}
	b.waiting.Remove(place)
	b.admit(now)
}

// Done gives back the permit and reports the attempt to the breaker. After the first call of Done
// or Cancel, further calls do nothing.
func (p *Permit) Done(a adapter.Attempt) {
	b := p.breaker
	now := b.lock()
	defer b.unlock(now)
	if p.over {
		return
	}
	p.over = true
	b.inFlight--
	b.judge(p, a, now)
	b.admit(now)
	if b.pause.active(now) {
		b.wakeImpatient()
	}
}

// wakeImpatient has the callers that do not wait for every pause look at this one, which may outlast them now.
func (b *Breaker) wakeImpatient() {
	for place := b.waiting.Front(); place != nil; place = place.Next() {
		w := place.Value.(*waiter)
		if w.patient {
			continue
		}
		select {
		case w.wake <- nil:
		default:
		}
	}
}

// scope returns the scope of the foreign answer that an event has just had. The event has been
// tried for the given time.
func (b *Breaker) scope(tried time.Duration) foreignScope {
	now := time.Now()
	return b.foreign.scope(now.Add(-tried), now)
}

// Cancel gives back the permit of a request that was not sent. The breaker learns nothing from it.
// A token of the rate limit stays used. After the first call of Done or Cancel, further calls do
// nothing.
func (p *Permit) Cancel() {
	b := p.breaker
	now := b.lock()
	defer b.unlock(now)
	p.cancel()
	b.admit(now)
}

// cancel is Cancel for a caller that has the lock.
func (p *Permit) cancel() {
	if p.over {
		return
	}
	p.over = true
	p.breaker.inFlight--
	if p.probe {
		p.breaker.pause.cancelProbe()
	}
}

// ceiling returns the most requests that may ever be in flight at once.
func (b *Breaker) ceiling() int { return int(b.limit.ceiling) }

// State returns the state of the breaker.
func (b *Breaker) State() BreakerState {
	now := b.lock()
	defer b.unlock(now)
	return b.state(now)
}

func (b *Breaker) state(now time.Time) BreakerState {
	state := BreakerState{Limit: b.limit.current(), InFlight: b.inFlight}
	if b.paused {
		state.Paused, state.Since = true, b.since
		var why failure
		why, state.Until = b.pause.describe(now)
		state.Reason, state.Cause, state.Detail = why.reason, why.cause, why.detail
	}
	return state
}

// untilDone is the delay of a request that must wait for another to end.
const untilDone = time.Duration(1<<63 - 1)

// delay returns how long the next request, of so many events, must wait at least: 0 if it may start.
func (b *Breaker) delay(events int, now time.Time) time.Duration {
	if delay := b.pause.delay(now); delay > 0 {
		return delay
	}
	if b.inFlight >= b.limit.current() {
		return untilDone
	}
	if b.rate == nil {
		return 0
	}
	missing := float64(events) - b.rate.TokensAt(now)
	return max(0, time.Duration(missing/float64(b.rate.Limit())*float64(time.Second)))
}

// start gives out a permit. The delay must be 0.
func (b *Breaker) start(events int, now time.Time) *Permit {
	if b.rate != nil {
		b.rate.AllowN(now, events)
	}
	b.inFlight++
	b.started++
	b.limit.use(b.inFlight)
	probe := b.pause.enter()
	return &Permit{breaker: b, number: b.started, generation: b.pause.generation, probe: probe, started: now}
}

// admit gives permits to the callers in front while requests may start. It wakes the first other
// caller if it must set its timer anew.
func (b *Breaker) admit(now time.Time) {
	for front := b.waiting.Front(); front != nil; front = b.waiting.Front() {
		w := front.Value.(*waiter)
		delay := b.delay(w.events, now)
		if delay == 0 {
			b.waiting.Remove(front)
			select {
			case <-w.wake: // a nil, which the permit replaces
			default:
			}
			w.wake <- b.start(w.events, now)
			continue
		}
		if delay != untilDone && (w.alarm.IsZero() || now.Add(delay).Before(w.alarm)) {
			select {
			case w.wake <- nil:
			default:
			}
		}
		return
	}
}

// lock returns the time for the work under the lock, and notices a pause that has ended by itself.
func (b *Breaker) lock() time.Time {
	b.mu.Lock()
	now := time.Now()
	b.note(now)
	return now
}

// unlock calls onChange outside the lock, so that a slow onChange delays no other caller and may
// use the breaker.
func (b *Breaker) unlock(now time.Time) {
	b.note(now)
	if b.telling || len(b.changes) == 0 {
		b.mu.Unlock()
		return
	}
	b.telling = true
	for len(b.changes) > 0 {
		change := b.changes[0]
		b.changes = b.changes[1:]
		b.mu.Unlock()
		b.onChange(change)
		b.mu.Lock()
	}
	b.telling = false
	b.mu.Unlock()
}

// note notices a pause that began or ended.
func (b *Breaker) note(now time.Time) {
	if paused := b.pause.active(now); paused != b.paused {
		b.paused = paused
		b.since = now
		if b.onChange != nil {
			b.changes = append(b.changes, b.state(now))
		}
	}
}
