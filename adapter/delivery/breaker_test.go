package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// What a tenant may answer besides what direct delivery is tested with.
var (
	timedOut    = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonTimeout}
	unreachable = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonNetworkError}
	tooMany     = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonRateLimited, Status: 429}
	forbidden   = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonForbidden, Status: 403,
		Misconfigured: true}
	ownFault = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonInternalError}
)

// askingFor returns the answer with Retry-After.
func askingFor(a adapter.Attempt, d time.Duration) adapter.Attempt {
	a.RetryAfter = d
	return a
}

// breakerTest is a Breaker without jitter, and what it told. Times are since the start.
type breakerTest struct {
	*Breaker
	t     *testing.T
	start time.Time
	mu    sync.Mutex
	told  []string
}

func newBreakerTest(t *testing.T, opts BreakerOptions) *breakerTest {
	g := &breakerTest{t: t, start: time.Now()}
	opts.Random = func() float64 { return 0.5 }
	opts.OnChange = func(state BreakerState) {
		g.mu.Lock()
		defer g.mu.Unlock()
		what := "resumed"
		if state.Paused {
			what = "paused " + string(state.Reason)
		}
		g.told = append(g.told, fmt.Sprintf("%v %s", g.now(), what))
	}
	g.Breaker = NewBreaker(opts)
	return g
}

func (g *breakerTest) now() time.Duration { return time.Since(g.start) }

// acquire is Acquire without an end.
func (g *breakerTest) acquire() *Permit {
	permit, err := g.Acquire(context.Background())
	if err != nil {
		g.t.Errorf("Acquire: %v", err)
	}
	return permit
}

// at sends one request, which is answered at once, and checks when it started.
func (g *breakerTest) at(want time.Duration, a adapter.Attempt) {
	g.t.Helper()
	permit := g.acquire()
	if got := g.now(); got != want {
		g.t.Errorf("a request started at %v, want %v", got, want)
	}
	permit.Done(a)
}

func (g *breakerTest) wantTold(want ...string) {
	g.t.Helper()
	g.State() // notices that a hold is over
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Equal(g.told, want) {
		g.t.Errorf("told %q, want %q", g.told, want)
	}
}

// wantNoPermit checks that no request may start for d from now on.
func (g *breakerTest) wantNoPermit(d time.Duration) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	if permit, err := g.Acquire(ctx); err == nil {
		g.t.Errorf("a request started at %v", g.now())
		permit.Cancel()
	}
}

// loadedTenant is a tenant under the load of many senders.
type loadedTenant struct {
	*breakerTest
	answer func(inFlight int) (adapter.Attempt, time.Duration)

	mu       sync.Mutex
	inFlight int
	starts   []time.Duration
	stop     func() // ends the load
}

// load has the given number of senders go on for d or until stop, and returns when
// they ended.
func (tenant *loadedTenant) load(senders int, d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	tenant.stop = cancel
	var wait sync.WaitGroup
	for range senders {
		wait.Go(func() {
			for {
				permit, err := tenant.Acquire(ctx)
				if err != nil {
					return
				}
				tenant.mu.Lock()
				tenant.inFlight++
				tenant.starts = append(tenant.starts, tenant.now())
				attempt, latency := tenant.answer(tenant.inFlight)
				tenant.mu.Unlock()
				time.Sleep(latency)
				tenant.mu.Lock()
				tenant.inFlight--
				tenant.mu.Unlock()
				permit.Done(attempt)
			}
		})
	}
	wait.Wait()
}

// startsBetween counts the requests that started from one time until another.
func (tenant *loadedTenant) startsBetween(from, to time.Duration) int {
	n := 0
	for _, at := range tenant.starts {
		if from <= at && at < to {
			n++
		}
	}
	return n
}

func TestBreakerOpensAtHalfFailuresOfTwenty(t *testing.T) {
	mix := func(parts ...any) (attempts []adapter.Attempt) {
		for i := 0; i < len(parts); i += 2 {
			attempts = append(attempts, slices.Repeat([]adapter.Attempt{parts[i+1].(adapter.Attempt)},
				parts[i].(int))...)
		}
		return attempts
	}
	for name, test := range map[string]struct {
		attempts []adapter.Attempt
		paused   bool
	}{
		"20 failures":                 {mix(20, busy), true},
		"19 failures":                 {mix(19, busy), false},
		"10 failures of 20":           {mix(10, delivered, 10, busy), true},
		"9 failures of 20":            {mix(11, delivered, 9, busy), false},
		"timeouts":                    {mix(20, timedOut), true},
		"network errors":              {mix(20, unreachable), true},
		"refused events are answers":  {mix(200, refused), false},
		"duplicates are answers":      {mix(200, conflict), false},
		"our own faults do not count": {mix(200, ownFault), false},
		"two wrong keys":              {mix(2, wrongKey), false},
		"three wrong keys":            {mix(3, wrongKey), true},
		"a success between":           {mix(2, wrongKey, 1, delivered, 2, wrongKey), false},
		"a dead event between":        {mix(2, wrongKey, 1, refused, 2, wrongKey), false},
		"a failure between":           {mix(2, wrongKey, 1, busy, 1, forbidden), true},
		"an odd 403 in every ten":     {slices.Repeat(mix(9, delivered, 1, forbidden), 20), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newBreakerTest(t, BreakerOptions{})
				for i, attempt := range test.attempts {
					if g.State().Paused {
						t.Fatalf("paused before attempt %d", i)
					}
					g.at(0, attempt)
				}
				state := g.State()
				if state.Paused != test.paused {
					t.Errorf("paused %v, want %v", state.Paused, test.paused)
				}
				if want := test.attempts[len(test.attempts)-1].Reason; state.Paused && state.Reason != want {
					t.Errorf("reason %q, want %q", state.Reason, want)
				}
				if state.InFlight != 0 {
					t.Errorf("%d in flight", state.InFlight)
				}
			})
		})
	}
}

func TestBreakerForgetsFailuresAfterTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newBreakerTest(t, BreakerOptions{})
		for i := range 100 { // 19 in any ten seconds
			g.at(time.Duration(i)*600*time.Millisecond, busy)
			time.Sleep(600 * time.Millisecond)
		}
		g.wantTold()
	})
}

func TestBreakerProbesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newBreakerTest(t, BreakerOptions{})
		for range 20 {
			g.at(0, busy)
		}
		at := time.Duration(0)
		for _, wait := range []time.Duration{5, 10, 20, 40, 60, 60} {
			at += wait * time.Second
			state := g.State()
			if want := (BreakerState{Paused: true, Reason: mapping.ReasonServerError, Since: g.start,
				Until: g.start.Add(at), Limit: 4}); state != want {
				t.Errorf("state %+v, want %+v", state, want)
			}
			probe := g.acquire()
			if g.now() != at {
				t.Errorf("a probe started at %v, want %v", g.now(), at)
			}
			if state := g.State(); !state.Paused || !state.Until.IsZero() || state.InFlight != 1 {
				t.Errorf("state during the probe: %+v", state)
			}
			g.wantNoPermit(3 * time.Second)
			at += 3 * time.Second
			probe.Done(busy)
		}
		at += time.Minute
		g.at(at, delivered)
		if state := g.State(); state != (BreakerState{Limit: 4}) {
			t.Errorf("state after the outage: %+v", state)
		}
		g.wantTold("0s paused server_error", fmt.Sprintf("%v resumed", at))

		// The next outage starts from 5 s again.
		for range 20 {
			g.at(at, timedOut)
		}
		g.at(at+5*time.Second, delivered)
	})
}

func TestBreakerProbesTheConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newBreakerTest(t, BreakerOptions{})
		for range 3 {
			g.at(0, wrongKey)
		}
		at := time.Duration(0)
		for _, wait := range []time.Duration{15, 30, 60, 120, 240, 300, 300} {
			at += wait * time.Second
			g.at(at, wrongKey)
		}
		at += 5 * time.Minute
		g.at(at, refused)
		g.at(at, wrongKey) // does not count on from the pause
		g.at(at, delivered)
		g.wantTold("0s paused unauthorized", fmt.Sprintf("%v resumed", at))
	})
}

func TestBreakerProbeDecides(t *testing.T) {
	outage, configuration := slices.Repeat([]adapter.Attempt{busy}, 20), slices.Repeat([]adapter.Attempt{wrongKey}, 3)
	for name, test := range map[string]struct {
		before []adapter.Attempt
		probe  adapter.Attempt
		first  time.Duration // when the probe starts
		paused bool
		reason mapping.Reason
		next   time.Duration // when the next request starts
	}{
		"outage, answered":      {outage, delivered, 5 * time.Second, false, "", 5 * time.Second},
		"outage, refused event": {outage, refused, 5 * time.Second, false, "", 5 * time.Second},
		"outage, throttled": {outage, askingFor(tooMany, 7*time.Second), 5 * time.Second, true,
			mapping.ReasonRateLimited, 12 * time.Second},
		"outage, asks for time": {outage, askingFor(busy, time.Minute), 5 * time.Second, true,
			mapping.ReasonServerError, 65 * time.Second},
		"outage, then a wrong key": {outage, wrongKey, 5 * time.Second, true, mapping.ReasonUnauthorized,
			20 * time.Second},
		"outage, our own fault": {outage, ownFault, 5 * time.Second, true, mapping.ReasonInternalError,
			15 * time.Second},
		"wrong key, answered": {configuration, conflict, 15 * time.Second, false, "", 15 * time.Second},
		"wrong key, then down": {configuration, timedOut, 15 * time.Second, true, mapping.ReasonTimeout,
			20 * time.Second},
		"wrong key, then tenant": {configuration, forbidden, 15 * time.Second, true, mapping.ReasonForbidden,
			45 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newBreakerTest(t, BreakerOptions{})
				for _, attempt := range test.before {
					g.at(0, attempt)
				}
				g.at(test.first, test.probe)
				if state := g.State(); state.Paused != test.paused || state.Reason != test.reason {
					t.Errorf("state after the probe: %+v", state)
				}
				g.at(test.next, delivered)
			})
		})
	}
}

func TestBreakerProbeOfAnotherCauseWaitsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newBreakerTest(t, BreakerOptions{})
		for range 20 {
			g.at(0, busy)
		}
		at := time.Duration(0)
		for _, probe := range []struct {
			wait   time.Duration
			answer adapter.Attempt
		}{{5, busy}, {10, wrongKey}, {15, wrongKey}, {30, busy}, {5, wrongKey}, {15, delivered}} {
			at += probe.wait * time.Second
			g.at(at, probe.answer)
		}
		g.wantTold("0s paused server_error", "1m20s resumed")
	})
}

func TestBreakerCancelledProbeLetsAnotherStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newBreakerTest(t, BreakerOptions{})
		for range 20 {
			g.at(0, busy)
		}
		for range 100 {
			g.acquire().Cancel()
		}
		if state := g.State(); !state.Paused || state.InFlight != 0 {
			t.Errorf("state %+v", state)
		}
		probe := g.acquire()
		g.wantNoPermit(time.Second)
		probe.Done(busy)
		probe.Cancel() // must not let another start
		g.at(16*time.Second, delivered)
		g.wantTold("0s paused server_error", "16s resumed")
	})
}

func TestBreakerIgnoresLateAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newBreakerTest(t, BreakerOptions{Floor: 64})
		late := make([]*Permit, 40)
		for i := range late {
			late[i] = g.acquire()
		}
		for range 20 {
			g.at(0, busy)
		}
		late[0].Done(delivered)
		if !g.State().Paused {
			t.Error("an answer from before the outage ended the pause")
		}
		time.Sleep(5 * time.Second)
		probe := g.acquire()
		for _, permit := range late[1:20] {
			permit.Done(delivered)
		}
		late[20].Done(busy)
		g.wantNoPermit(time.Second)
		probe.Done(delivered)
		for _, permit := range late[21:] {
			permit.Done(wrongKey)
		}
		for range 19 {
			g.at(6*time.Second, busy)
		}
		g.wantTold("0s paused server_error", "6s resumed")
	})
}

func TestBreakerHonoursRetryAfter(t *testing.T) {
	for name, test := range map[string]struct {
		answer adapter.Attempt
		want   time.Duration
	}{
		"429":                    {askingFor(tooMany, 30*time.Second), 30 * time.Second},
		"503":                    {askingFor(busy, 30*time.Second), 30 * time.Second},
		"an hour":                {askingFor(tooMany, time.Hour), 5 * time.Minute},
		"none":                   {busy, 0},
		"negative":               {askingFor(busy, -time.Second), 0},
		"of a redirect":          {askingFor(wrongKey, 30*time.Second), 0},
		"of a delivered event":   {askingFor(delivered, 30*time.Second), 0},
		"429 without, the limit": {tooMany, time.Second}, // is at its floor
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newBreakerTest(t, BreakerOptions{})
				g.at(0, test.answer)
				if state := g.State(); state.Paused != (test.want > 0) ||
					state.Paused && (state.Reason != test.answer.Reason ||
						!state.Until.Equal(g.start.Add(test.want))) {
					t.Errorf("state %+v", state)
				}
				g.at(test.want, delivered)
				if test.want > 0 {
					g.wantTold("0s paused "+string(test.answer.Reason), fmt.Sprintf("%v resumed", test.want))
				} else {
					g.wantTold()
				}
			})
		})
	}
}

func TestBreakerResumeIsToldWithoutWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newBreakerTest(t, BreakerOptions{})
		straggler := g.acquire()
		g.at(0, askingFor(busy, time.Second))
		time.Sleep(time.Minute)
		straggler.Done(askingFor(busy, time.Second))
		time.Sleep(time.Minute)
		g.wantTold("0s paused server_error", "1m0s resumed", "1m0s paused server_error", "2m0s resumed")
	})
}

func TestBreakerThrottlesAtTheFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newBreakerTest(t, BreakerOptions{})
		at := time.Duration(0)
		for _, wait := range []time.Duration{0, 1, 2, 4, 8, 16, 32, 60, 60} {
			at += wait * time.Second
			g.at(at, tooMany)
		}
		at += time.Minute
		g.at(at, delivered)
		g.at(at, tooMany)
		g.at(at+time.Second, delivered)
	})
}

// A tenant that grants 5 requests a second should get about that many, and not
// be asked for many more.
func TestBreakerFindsTheRateOfATenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		granted, refused := 0, 0
		second := time.Duration(-1)
		left := 0
		tenant := &loadedTenant{breakerTest: newBreakerTest(t, BreakerOptions{})}
		tenant.answer = func(int) (adapter.Attempt, time.Duration) {
			if now := tenant.now().Truncate(time.Second); now != second {
				second, left = now, 5
			}
			if left > 0 {
				left--
				granted++
				return delivered, 20 * time.Millisecond
			}
			refused++
			return tooMany, 20 * time.Millisecond
		}
		tenant.load(100, 100*time.Second)
		t.Logf("in 100 s, %d of 500 were granted and %d refused", granted, refused)
		if granted < 350 || refused > granted {
			t.Errorf("in 100 s, %d of 500 were granted and %d refused", granted, refused)
		}
	})
}

func TestBreakerRecoversWithoutAStorm(t *testing.T) {
	for name, test := range map[string]struct {
		failure adapter.Attempt
		end     time.Duration // of the outage
	}{
		"outage":      {busy, 10 * time.Minute},
		"wrong key":   {wrongKey, 10 * time.Minute},
		"Retry-After": {askingFor(tooMany, 30*time.Second), 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const latency = 100 * time.Millisecond
				tenant := &loadedTenant{breakerTest: newBreakerTest(t, BreakerOptions{})}
				recovered := 0
				tenant.answer = func(int) (adapter.Attempt, time.Duration) {
					now := tenant.now()
					if 10*time.Second <= now && now < test.end {
						return test.failure, latency
					}
					if now >= test.end {
						if recovered++; recovered == 1000 {
							tenant.stop()
						}
					}
					return delivered, latency
				}
				tenant.load(1000, 20*time.Minute)

				if n := tenant.startsBetween(9*time.Second, 10*time.Second); n != 640 {
					t.Errorf("%d requests in the last second before the outage, want 640", n)
				}
				// Once the failures outweigh what succeeded within 10 s, only probes start.
				if n := tenant.startsBetween(20*time.Second, test.end); n > 15 {
					t.Errorf("%d requests during the outage", n)
				}
				i := slices.IndexFunc(tenant.starts, func(at time.Duration) bool { return at >= test.end })
				first := tenant.starts[i]
				if tenant.starts[i+1] > first { // it was a probe
					first = tenant.starts[i+1]
				}
				var ramp []int
				for round := range time.Duration(12) {
					ramp = append(ramp, tenant.startsBetween(first+round*latency, first+(round+1)*latency))
				}
				t.Logf("resumed at %v; starts in each 100 ms: %v", first, ramp)
				if ramp[0] != 4 || ramp[len(ramp)-1] != 64 {
					t.Errorf("starts in each 100 ms after the outage: %v", ramp)
				}
				for round := range ramp[1:] {
					if ramp[round+1] < ramp[round] || ramp[round+1] > 2*ramp[round] {
						t.Errorf("starts in each 100 ms after the outage: %v", ramp)
					}
				}
				if len(tenant.told) != 2 {
					t.Errorf("told %q", tenant.told)
				}
			})
		})
	}
}

func TestBreakerHonoursTheRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &loadedTenant{breakerTest: newBreakerTest(t, BreakerOptions{RateLimit: 50})}
		tenant.answer = func(int) (adapter.Attempt, time.Duration) { return delivered, time.Millisecond }
		tenant.load(100, 20*time.Second)
		for second := range time.Duration(20) {
			want := 50
			if second == 0 {
				want += 5 // the burst
			}
			n := tenant.startsBetween(second*time.Second, (second+1)*time.Second)
			if n > want || n < 49 {
				t.Errorf("second %d: %d requests, want %d", second, n, want)
			}
		}
	})
}

func TestBreakerIsFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newBreakerTest(t, BreakerOptions{Floor: 1, Ceiling: 1})
		held := g.acquire()
		var order []int
		var wait sync.WaitGroup
		for i := range 100 {
			wait.Go(func() {
				permit := g.acquire()
				order = append(order, i)
				permit.Done(delivered)
			})
			synctest.Wait()
		}
		held.Done(delivered)
		wait.Wait()
		if len(order) != 100 || !slices.IsSorted(order) {
			t.Errorf("order %v", order)
		}
	})
}

func TestBreakerAcquireEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newBreakerTest(t, BreakerOptions{Floor: 1, Ceiling: 1})
		held := g.acquire()
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(context.Background())
		results := make(chan error, 10)
		for range 10 {
			go func() { _, err := g.Acquire(ctx); results <- err }()
		}
		synctest.Wait()
		patient := make(chan *Permit)
		go func() { patient <- g.acquire() }()
		synctest.Wait()
		cancel(cause)
		for range 10 {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		}
		held.Done(delivered)
		(<-patient).Done(delivered)
		if _, err := g.Acquire(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("error of a free breaker: %v", err)
		}
		if g.now() != 0 || g.State().InFlight != 0 {
			t.Errorf("after %v %+v", g.now(), g.State())
		}
	})
}

// The first waiting request keeps the time for all, so another must when
// it leaves.
func TestBreakerKeepsTimeWhenTheFirstLeaves(t *testing.T) {
	for name, opts := range map[string]BreakerOptions{"pause": {}, "rate limit": {RateLimit: 1.0 / 30}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newBreakerTest(t, opts)
				g.at(0, askingFor(busy, 30*time.Second))
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				go func() {
					if _, err := g.Acquire(ctx); err == nil {
						t.Error("a request started during the pause")
					}
				}()
				synctest.Wait()
				g.at(30*time.Second, delivered)
			})
		})
	}
}

func TestBreakerOnChangeMayUseTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			g     *Breaker
			told  []bool
			under atomic.Int32
		)
		g = NewBreaker(BreakerOptions{OnChange: func(state BreakerState) {
			if under.Add(1) > 1 {
				t.Error("two changes are told at once")
			}
			told = append(told, state.Paused)
			permit, err := g.Acquire(t.Context())
			if err != nil {
				t.Error(err)
			}
			permit.Cancel()
			time.Sleep(time.Second)
			g.State()
			under.Add(-1)
		}})
		var wait sync.WaitGroup
		for i := range time.Duration(10) {
			wait.Go(func() {
				time.Sleep(i * 500 * time.Millisecond)
				permit, err := g.Acquire(t.Context())
				if err != nil {
					t.Error(err)
				}
				permit.Done(askingFor(busy, 100*time.Millisecond))
			})
		}
		wait.Wait()
		time.Sleep(time.Minute)
		g.State()
		if want := slices.Repeat([]bool{true, false}, 10); !slices.Equal(told, want) {
			t.Errorf("told %v", told)
		}
	})
}
