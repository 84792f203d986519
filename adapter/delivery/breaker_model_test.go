package delivery

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
)

// breakerModel takes a Breaker through random steps, one at a time, and checks after
// each the invariants.
type breakerModel struct {
	*breakerTest
	random   *rand.Rand
	floor    int
	ceiling  int
	changes  []BreakerState
	waiters  []context.CancelFunc
	arrived  chan *Permit
	left     chan struct{}
	waiting  int
	inFlight []*Permit
	probe    *Permit
	starts   int
	probes   int
}

func TestBreakerModel(t *testing.T) {
	starts, probes, changes := 0, 0, 0
	seeds := deliverytest.Explore(15)
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			m := &breakerModel{random: random, floor: 1 + random.IntN(8), arrived: make(chan *Permit, 1000),
				left: make(chan struct{}, 1000)}
			m.ceiling = m.floor + random.IntN(60)
			m.breakerTest = &breakerTest{t: t, start: time.Now()}
			m.Breaker = NewBreaker(BreakerOptions{
				Floor: m.floor, Ceiling: m.ceiling, RateLimit: float64(random.IntN(2) * 100), Random: random.Float64,
				OnChange: func(state BreakerState) { m.changes = append(m.changes, state) },
			})
			m.run(seed)
			starts, probes, changes = starts+m.starts, probes+m.probes, changes+len(m.changes)
		})
	}
	t.Logf("%d starts, %d probes, %d changes", starts, probes, changes)
	if starts < 400*seeds || probes < 10*seeds || changes < 20*seeds {
		t.Errorf("%d starts, %d probes and %d changes show little", starts, probes, changes)
	}
}

func (m *breakerModel) run(seed uint64) {
	moods := [][]adapter.Attempt{
		{delivered}, {delivered, conflict, refused, busy}, {busy, timedOut, unreachable}, {tooMany, delivered},
		{wrongKey}, {wrongKey, delivered}, {askingFor(tooMany, 3*time.Second), busy}, {delivered, ownFault},
		{wrongKey, busy, tooMany, askingFor(busy, time.Hour)}, {delivered}, {delivered},
	}
	mood := moods[0]
	for step := range 3000 {
		if m.random.IntN(100) == 0 {
			mood = moods[m.random.IntN(len(moods))]
		}
		before := m.State()
		switch m.random.IntN(6) {
		case 0, 1:
			if m.waiting < 100 {
				m.arrive()
			}
		case 2, 3:
			if i := m.pick(len(m.inFlight)); i >= 0 {
				m.take(i).Done(mood[m.random.IntN(len(mood))])
			}
		case 4:
			if i := m.pick(len(m.inFlight)); i >= 0 && m.random.IntN(4) == 0 {
				m.take(i).Cancel()
			}
			if i := m.pick(len(m.waiters)); i >= 0 && m.random.IntN(4) == 0 {
				m.waiters[i]() // which may have its permit already
			}
		case 5:
			// Never past the instant when something happens, so that it is a step of its own.
			sleep := time.Duration(m.random.Int64N(100e6))
			if !before.Until.IsZero() && time.Until(before.Until) > 0 {
				sleep = min(time.Duration(m.random.Int64N(20e9)), time.Until(before.Until))
			}
			time.Sleep(sleep)
		}
		m.check(before)
		if m.t.Failed() {
			m.t.Fatalf("seed %d, step %d", seed, step)
		}
	}

	// The tenant is well again, so every request has its turn.
	for m.waiting > 0 || len(m.inFlight) > 0 {
		before := m.State()
		if len(m.inFlight) > 0 {
			m.take(0).Done(delivered)
		} else if time.Sleep(time.Second); m.now() > 100*time.Hour {
			m.t.Fatalf("seed %d: %d still wait: %+v", seed, m.waiting, m.State())
		}
		m.check(before)
	}
	for i, state := range m.changes {
		if state.Paused != (i%2 == 0) || state.Paused != (state.Reason != "") {
			m.t.Fatalf("seed %d: told %+v after %d changes", seed, state, i)
		}
	}
	if state := m.State(); state.InFlight != 0 {
		m.t.Fatalf("seed %d: %+v in the end", seed, state)
	}
}

func (m *breakerModel) pick(n int) int {
	if n == 0 {
		return -1
	}
	return m.random.IntN(n)
}

func (m *breakerModel) arrive() {
	ctx, cancel := context.WithCancel(context.Background())
	m.waiters = append(m.waiters, cancel)
	if len(m.waiters) > 200 {
		m.waiters = m.waiters[100:]
	}
	m.waiting++
	go func() {
		if permit, err := m.Acquire(ctx); err == nil {
			m.arrived <- permit
		} else {
			m.left <- struct{}{}
		}
	}()
}

func (m *breakerModel) take(i int) *Permit {
	permit := m.inFlight[i]
	m.inFlight = append(m.inFlight[:i], m.inFlight[i+1:]...)
	if permit == m.probe {
		m.probe = nil
	}
	return permit
}

// check lets the step come to its end and looks at what it did.
func (m *breakerModel) check(before BreakerState) {
	synctest.Wait()
	after := m.State()
	started := 0
	for len(m.arrived) > 0 {
		permit := <-m.arrived
		started++
		m.inFlight = append(m.inFlight, permit)
		if after.Paused {
			if m.probe != nil {
				m.t.Errorf("a second probe started")
			}
			m.probe = permit
			m.probes++
		}
	}
	for ; len(m.left) > 0; m.waiting-- {
		<-m.left
	}
	m.starts += started
	m.waiting -= started
	free := after.Limit - after.InFlight
	switch {
	case after.Limit < m.floor || after.Limit > m.ceiling:
		m.t.Errorf("limit %d outside %d to %d", after.Limit, m.floor, m.ceiling)
	case after.InFlight != len(m.inFlight):
		m.t.Errorf("%d in flight by State, there are %d", after.InFlight, len(m.inFlight))
	case started > 0 && free < 0:
		m.t.Errorf("%d started, and then %d are in flight under a limit of %d", started, after.InFlight, after.Limit)
	case started > 0 && before.Until.After(time.Now()) && before.Paused && after.Paused:
		m.t.Errorf("%d started before %v: %+v", started, before.Until, after)
	case after.Paused && (after.Since.IsZero() || after.Reason == ""):
		m.t.Errorf("a pause without start or reason: %+v", after)
	case !after.Paused && (!after.Since.IsZero() || after.Reason != "" || !after.Until.IsZero()):
		m.t.Errorf("no pause, but %+v", after)
	case m.probe != nil && !after.Until.IsZero():
		m.t.Errorf("a probe is in flight, yet another may start at %v", after.Until)
	case !after.Paused && free > 0 && m.waiting > 0 && m.rate == nil:
		m.t.Errorf("%d wait although %d may start", m.waiting, free)
	}
}

// Many goroutines in real time, for the race detector.
func TestBreakerLeaksNothing(t *testing.T) {
	g := NewBreaker(BreakerOptions{Ceiling: 8})
	var wait sync.WaitGroup
	for worker := range uint64(16) {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(worker, 3))
			for range 100_000 / 16 {
				ctx, cancel := context.WithCancel(context.Background())
				switch random.IntN(4) {
				case 0:
					cancel()
				case 1:
					go cancel()
				}
				permit, err := g.Acquire(ctx)
				if err == nil {
					switch random.IntN(10) {
					case 0:
						permit.Cancel()
						permit.Done(wrongKey) // too late
					case 1:
						permit.Done(refused)
						permit.Cancel() // too late
					default:
						permit.Done(delivered)
					}
				}
				cancel()
			}
		})
	}
	wait.Wait()
	if state := g.State(); state.InFlight != 0 || state.Paused {
		t.Errorf("state %+v in the end", state)
	}
	// All places are still there.
	for range g.State().Limit {
		if _, err := g.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
