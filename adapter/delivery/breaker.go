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

// Breaker decides when a request to one tenant may start. It is shared by all who
// send to that tenant, and lets a request through when
//
//   - the tenant is not paused: by an outage, by a configuration that it refuses, by
//     answers that are not SaaSquatch's, or because it asked for time with Retry-After,
//   - fewer requests are under way than the adaptive limit allows, and
//   - the rate limit has a token left.
//
// A pause for an outage or the configuration ends with a probe: one request,
// alone, that is answered as a working tenant answers. After every pause the
// limit starts from its floor. Requests already under way when a pause begins, or
// when the limit falls, are not recalled.
//
// Those who wait start in the order in which they came. A Breaker has no goroutine
// and needs no Stop: the first of those who wait keeps the time for all. It is
// safe for concurrent use.
type Breaker struct {
	random   func() float64
	onChange func(BreakerState)
	rate     *rate.Limiter // nil for no limit

	mu       sync.Mutex
	waiting  list.List // of *waiter, the first to start in front
	inFlight int
	started  uint64 // how many permits were given out
	limit    concurrencyLimit
	pause    pause
	foreign  foreignAnswers

	paused  bool // as noticed last; pause itself knows the present
	since   time.Time
	changes []BreakerState // to be told to onChange
	telling bool           // somebody is at it
}

// BreakerOptions are a Breaker's choices.
type BreakerOptions struct {
	// Floor and Ceiling bound how many requests may be under way at once. A Floor
	// above the Ceiling counts as the Ceiling. Default: 4 and DefaultConcurrency.
	Floor, Ceiling int
	// RateLimit is how many permits may be given out in a second, 0 for any number. An
	// attempt of several requests takes one. Default: 0.
	RateLimit float64
	// ForeignRest is how long no event must have had a proper answer, until foreign answers to
	// several events are taken for the tenant's; see [adapter.Attempt].Foreign. So a busy tenant is
	// not paused for some events that a firewall stops. Direct delivery needs none, which a
	// negative value says: it must decide within its budget. Default: 10 s.
	ForeignRest time.Duration
	// Random is the source of jitter, uniform in [0,1). Default: math/rand/v2.
	Random func() float64
	// OnChange is told once when the breaker pauses and once when it resumes, by one
	// goroutine at a time and in this order. The end of a pause for Retry-After is
	// told when the breaker is used next, or asked for its State, because nobody keeps
	// the time while nobody waits. Default: nobody is told.
	OnChange func(BreakerState)
}

// DefaultFloor is how many requests to a tenant may be under way at once however
// badly it answers.
const DefaultFloor = 4

// BreakerState is what a Breaker is at.
type BreakerState struct {
	// Paused says that no request may start but, at times, a probe.
	Paused bool
	// Reason is why the tenant is paused, empty if it is not.
	Reason mapping.Reason
	// Cause and Detail are those of the attempt for which it is, as in [Attempt].
	Cause  adapter.Cause
	Detail string
	// Since is when the pause began, zero if there is none.
	Since time.Time
	// Until is when the next request may start, zero if there is no pause or if
	// that depends on a probe under way.
	Until time.Time
	// Limit is how many requests may be under way at once. InFlight is how many
	// are; it exceeds Limit for a while after Limit has fallen.
	Limit, InFlight int
}

// NewBreaker returns a Breaker that is open.
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
	g := &Breaker{
		random:   opts.Random,
		onChange: opts.OnChange,
		limit:    newConcurrencyLimit(min(opts.Floor, opts.Ceiling), opts.Ceiling),
		pause:    newPause(),
		foreign:  foreignAnswers{rest: max(0, opts.ForeignRest)},
	}
	if opts.RateLimit > 0 {
		g.rate = rate.NewLimiter(rate.Limit(opts.RateLimit), max(1, int(opts.RateLimit/10)))
	}
	return g
}

// Permit allows one request to start. It must be given back by Done or Cancel.
type Permit struct {
	breaker    *Breaker
	number     uint64 // permits are numbered in the order of their start
	generation int    // of the pause at the start
	event      uint64 // tells the event from others in this process, 0 if unknown
	probe      bool
	started    time.Time
	over       bool
}

// waiter is a caller of Acquire that could not start at once.
type waiter struct {
	// wake carries the permit, or nil to the first of those who wait for it to look
	// at the time again.
	wake chan *Permit
	// alarm is when its timer fires, zero if it has none.
	alarm time.Time
}

// Acquire waits until a request may start, however long that takes. The error is
// that of ctx. The request should start at once, because its time counts from
// here on.
func (g *Breaker) Acquire(ctx context.Context) (*Permit, error) { return g.acquire(ctx, true) }

// pausedError means that the tenant is paused for longer than the caller can wait.
type pausedError struct{ state BreakerState }

func (e *pausedError) Error() string { return "the tenant is paused: " + string(e.state.Reason) }

// acquire waits for a permit. A caller that is not patient does not wait for a pause that
// outlasts ctx: it gets a pausedError at once.
func (g *Breaker) acquire(ctx context.Context, patient bool) (*Permit, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	now := g.lock()
	if g.waiting.Len() == 0 && g.delay(now) == 0 {
		permit := g.start(now)
		g.unlock(now)
		return permit, nil
	}
	w := &waiter{wake: make(chan *Permit, 1)}
	place := g.waiting.PushBack(w)
	var timer *time.Timer
	for {
		if !patient && g.outlasts(ctx, now) {
			state := g.state(now)
			g.waiting.Remove(place)
			g.admit(now)
			g.unlock(now)
			return nil, &pausedError{state}
		}
		var alarm <-chan time.Time
		if g.waiting.Front() == place {
			if delay := g.delay(now); delay == untilDone {
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
		g.unlock(now)

		select {
		case permit := <-w.wake:
			if permit != nil {
				return permit, nil
			}
		case <-alarm:
		case <-ctx.Done():
			g.leave(place, w)
			return nil, ctx.Err()
		}
		now = g.lock()
		g.admit(now)
		select {
		case permit := <-w.wake: // admit has just given it
			if permit != nil {
				g.unlock(now)
				return permit, nil
			}
		default:
		}
	}
}

// outlasts reports whether the pause ends after the deadline of ctx.
func (g *Breaker) outlasts(ctx context.Context, now time.Time) bool {
	deadline, ok := ctx.Deadline()
	delay := g.pause.delay(now)
	return ok && delay > 0 && delay != untilDone && now.Add(delay).After(deadline)
}

// leave takes a waiter out of the queue, or gives its permit back if it was given
// one meanwhile.
func (g *Breaker) leave(place *list.Element, w *waiter) {
	now := g.lock()
	defer g.unlock(now)
	select {
	case permit := <-w.wake:
		if permit != nil {
			permit.cancel()
		}
	default:
	}
	g.waiting.Remove(place)
	g.admit(now)
}

// Done gives the permit back and tells the breaker what the attempt came to. After the
// first call of Done or Cancel, further ones do nothing.
func (p *Permit) Done(a adapter.Attempt) {
	g := p.breaker
	now := g.lock()
	defer g.unlock(now)
	if p.over {
		return
	}
	p.over = true
	g.inFlight--
	g.judge(p, a, now)
	g.admit(now)
	if g.pause.active(now) {
		g.wakeAll()
	}
}

// wakeAll has the callers that wait look at the pause, which may outlast them now.
func (g *Breaker) wakeAll() {
	for place := g.waiting.Front(); place != nil; place = place.Next() {
		select {
		case place.Value.(*waiter).wake <- nil:
		default:
		}
	}
}

// scope says what the foreign answer is about that an event has just had, which is
// tried for the given time.
func (g *Breaker) scope(tried time.Duration) foreignScope {
	now := time.Now()
	return g.foreign.scope(now.Add(-tried), now)
}

// Cancel gives the permit back for a request that was not sent; nothing is learned
// from it. A token of the rate limit stays used. After the first call of Done or
// Cancel, further ones do nothing.
func (p *Permit) Cancel() {
	g := p.breaker
	now := g.lock()
	defer g.unlock(now)
	p.cancel()
	g.admit(now)
}

// cancel does the work of Cancel for a caller that barriers the lock.
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

// ceiling returns how many requests may be in flight at once at the most.
func (g *Breaker) ceiling() int { return int(g.limit.ceiling) }

// State returns what the breaker is at.
func (g *Breaker) State() BreakerState {
	now := g.lock()
	defer g.unlock(now)
	return g.state(now)
}

func (g *Breaker) state(now time.Time) BreakerState {
	state := BreakerState{Limit: g.limit.current(), InFlight: g.inFlight}
	if g.paused {
		state.Paused, state.Since = true, g.since
		var why failure
		why, state.Until = g.pause.describe(now)
		state.Reason, state.Cause, state.Detail = why.reason, why.cause, why.detail
	}
	return state
}

// untilDone is the delay of a request that has to wait for another to end.
const untilDone = time.Duration(1<<63 - 1)

// delay returns how long the next request has to wait at least: 0 if it may start.
func (g *Breaker) delay(now time.Time) time.Duration {
	if delay := g.pause.delay(now); delay > 0 {
		return delay
	}
	if g.inFlight >= g.limit.current() {
		return untilDone
	}
	if g.rate == nil {
		return 0
	}
	missing := 1 - g.rate.TokensAt(now)
	return max(0, time.Duration(missing/float64(g.rate.Limit())*float64(time.Second)))
}

// start gives out a permit. It must follow a delay of 0. The permit of the circuit
// breaker comes last, because one taken in vain would block the probe.
func (g *Breaker) start(now time.Time) *Permit {
	if g.rate != nil {
		g.rate.AllowN(now, 1)
	}
	g.inFlight++
	g.started++
	g.limit.use(g.inFlight)
	probe := g.pause.enter()
	return &Permit{breaker: g, number: g.started, generation: g.pause.generation, probe: probe, started: now}
}

// admit gives permits to those in front while requests may start, and wakes the
// one then in front if it has to set its timer anew.
func (g *Breaker) admit(now time.Time) {
	for front := g.waiting.Front(); front != nil; front = g.waiting.Front() {
		w := front.Value.(*waiter)
		delay := g.delay(now)
		if delay == 0 {
			g.waiting.Remove(front)
			select {
			case <-w.wake: // a nil that the permit makes void
			default:
			}
			w.wake <- g.start(now)
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

// lock returns the time for all that is done under the lock, and takes note of
// what has changed by the time's passing.
func (g *Breaker) lock() time.Time {
	g.mu.Lock()
	now := time.Now()
	g.note(now)
	return now
}

// unlock tells onChange of what has changed. It does so outside the lock, so that
// a slow onChange delays nobody else and may use the breaker.
func (g *Breaker) unlock(now time.Time) {
	g.note(now)
	if g.telling || len(g.changes) == 0 {
		g.mu.Unlock()
		return
	}
	g.telling = true
	for len(g.changes) > 0 {
		change := g.changes[0]
		g.changes = g.changes[1:]
		g.mu.Unlock()
		g.onChange(change)
		g.mu.Lock()
	}
	g.telling = false
	g.mu.Unlock()
}

// note takes note of a pause that began or ended.
func (g *Breaker) note(now time.Time) {
	if paused := g.pause.active(now); paused != g.paused {
		g.paused = paused
		g.since = now
		if g.onChange != nil {
			g.changes = append(g.changes, g.state(now))
		}
	}
}
