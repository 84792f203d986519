package delivery

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
)

func TestBreakerLimitStaysWithinItsBounds(t *testing.T) {
	for name, test := range map[string]struct {
		opts           BreakerOptions
		floor, ceiling int
	}{
		"default":             {BreakerOptions{}, DefaultFloor, adapter.DefaultConcurrency},
		"own":                 {BreakerOptions{Floor: 3, Ceiling: 17}, 3, 17},
		"equal":               {BreakerOptions{Floor: 5, Ceiling: 5}, 5, 5},
		"one":                 {BreakerOptions{Floor: 1, Ceiling: 1}, 1, 1},
		"floor above ceiling": {BreakerOptions{Floor: 9, Ceiling: 2}, 2, 2},
		"low ceiling":         {BreakerOptions{Ceiling: 2}, 2, 2},
		"negative":            {BreakerOptions{Floor: -1, Ceiling: -1}, DefaultFloor, adapter.DefaultConcurrency},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := &loadedTenant{breakerTest: newBreakerTest(t, test.opts)}
				if got := tenant.State().Limit; got != test.floor {
					t.Errorf("the limit is %d at first, want %d", got, test.floor)
				}
				tenant.answer = func(int) (adapter.Attempt, time.Duration) { return delivered, 50 * time.Millisecond }
				tenant.load(2*test.ceiling, 10*time.Second)
				if got := tenant.State().Limit; got != test.ceiling {
					t.Errorf("the limit is %d under a healthy load, want %d", got, test.ceiling)
				}
				tenant.answer = func(int) (adapter.Attempt, time.Duration) { return tooMany, 50 * time.Millisecond }
				tenant.load(2*test.ceiling, 10*time.Second)
				if got := tenant.State().Limit; got != test.floor {
					t.Errorf("the limit is %d under 429s, want %d", got, test.floor)
				}
			})
		})
	}
}

// However a healthy tenant's latencies spread, the limit has to reach the ceiling
// soon and stay near it. Half very quick and half slow answers are the worst case:
// chance alone makes a round slow now and then.
func TestBreakerLimitReachesTheCeiling(t *testing.T) {
	for name, latency := range map[string]func(random *rand.Rand) time.Duration{
		"20 ms":  func(*rand.Rand) time.Duration { return 20 * time.Millisecond },
		"300 ms": func(*rand.Rand) time.Duration { return 300 * time.Millisecond },
		"20 to 300 ms": func(r *rand.Rand) time.Duration {
			return 20*time.Millisecond + time.Duration(r.Int64N(280e6))
		},
		"one of ten": func(r *rand.Rand) time.Duration {
			return []time.Duration{20e6, 300e6}[max(0, r.IntN(10)-8)]
		},
		"half and half": func(r *rand.Rand) time.Duration { return []time.Duration{20e6, 300e6}[r.IntN(2)] },
		"a long tail":   func(r *rand.Rand) time.Duration { return []time.Duration{50e6, 5e9}[max(0, r.IntN(20)-18)] },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(1, 2))
				tenant := &loadedTenant{breakerTest: newBreakerTest(t, BreakerOptions{})}
				reached := time.Duration(0)
				sum, n := 0, 0
				tenant.answer = func(int) (adapter.Attempt, time.Duration) {
					limit := tenant.State().Limit
					if limit == adapter.DefaultConcurrency && reached == 0 {
						reached = tenant.now()
					}
					if tenant.now() > 10*time.Second {
						sum, n = sum+limit, n+1
					}
					return delivered, latency(random)
				}
				tenant.load(100, time.Minute)
				t.Logf("ceiling after %v, average limit after 10 s %d", reached, sum/n)
				if reached == 0 || reached > 5*time.Second {
					t.Errorf("the limit reached the ceiling after %v", reached)
				}
				if sum/n < 40 || name != "half and half" && sum/n < 60 {
					t.Errorf("the limit is %d on average", sum/n)
				}
			})
		})
	}
}

func TestBreakerLimitBearsFewFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		tenant := &loadedTenant{breakerTest: newBreakerTest(t, BreakerOptions{})}
		tenant.answer = func(int) (adapter.Attempt, time.Duration) {
			if random.IntN(20) == 0 {
				return busy, 100 * time.Millisecond
			}
			return delivered, 100 * time.Millisecond
		}
		tenant.load(100, time.Minute)
		n := tenant.startsBetween(30*time.Second, time.Minute) / 30
		t.Logf("%d requests a second with 5%% failures, 640 without", n)
		if n < 450 {
			t.Errorf("%d requests a second", n)
		}
	})
}

// A tenant that works on 16 requests at once and lets the others queue should see
// few in its queue.
func TestBreakerLimitFollowsGrowingLatency(t *testing.T) {
	const capacity, work = 16, 100 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		tenant := &loadedTenant{breakerTest: newBreakerTest(t, BreakerOptions{})}
		sum, n, most := 0, 0, 0
		tenant.answer = func(inFlight int) (adapter.Attempt, time.Duration) {
			if tenant.now() > 5*time.Second {
				sum, n, most = sum+inFlight, n+1, max(most, inFlight)
			}
			return delivered, work * time.Duration(max(inFlight, capacity)) / capacity
		}
		tenant.load(100, 10*time.Minute)
		t.Logf("at capacity %d, %d in flight on average and %d at most", capacity, sum/n, most)
		if sum/n < capacity || sum/n > 2*capacity || most > 3*capacity {
			t.Errorf("at capacity %d, %d in flight on average and %d at most", capacity, sum/n, most)
		}
	})
}

// Answers that stay slow at the floor are not slow because of the limit.
func TestBreakerLimitLearnsANewLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &loadedTenant{breakerTest: newBreakerTest(t, BreakerOptions{})}
		lowest := adapter.DefaultConcurrency
		tenant.answer = func(int) (adapter.Attempt, time.Duration) {
			if tenant.now() < 10*time.Second {
				return delivered, 50 * time.Millisecond
			}
			lowest = min(lowest, tenant.State().Limit)
			return delivered, 500 * time.Millisecond
		}
		tenant.load(100, time.Minute)
		if lowest > 8 {
			t.Errorf("the limit fell to %d only when answers became slow", lowest)
		}
		if got := tenant.State().Limit; got < 60 {
			t.Errorf("the limit is %d long after", got)
		}
	})
}

func TestBreakerLimitDoesNotGrowUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &loadedTenant{breakerTest: newBreakerTest(t, BreakerOptions{})}
		tenant.answer = func(int) (adapter.Attempt, time.Duration) { return delivered, 50 * time.Millisecond }
		tenant.load(3, time.Minute)
		if got := tenant.State().Limit; got != DefaultFloor {
			t.Errorf("the limit is %d under a load of 3, want %d", got, DefaultFloor)
		}
	})
}

// Only the request's own time counts, not that of waiting for the breaker.
func TestBreakerLimitDoesNotCountWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &loadedTenant{breakerTest: newBreakerTest(t, BreakerOptions{})}
		tenant.answer = func(int) (adapter.Attempt, time.Duration) { return delivered, 20 * time.Millisecond }
		tenant.load(1, time.Minute)
		tenant.load(5000, 10*time.Second) // who wait 1.5 s each
		if got := tenant.State().Limit; got != adapter.DefaultConcurrency {
			t.Errorf("the limit is %d, want %d", got, adapter.DefaultConcurrency)
		}
	})
}
