package delivery

import (
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

const (
	// The circuit breaker opens when at least half of at least 20 attempts within
	// 10 s failed. A 429 is no failure: a tenant that counts requests works, and
	// the limit and Retry-After deal with it.
	breakerFailureShare = 0.5
	breakerMinAttempts  = 20
	breakerPeriod       = 10 * time.Second

	// misconfiguredInARow is how many attempts have to be refused for the
	// configuration, with none answered in between, until the tenant is paused: a
	// proxy may answer an odd 403.
	misconfiguredInARow = 3

	// maxRetryAfter caps what Retry-After can ask for.
	maxRetryAfter = 5 * time.Minute
)

// pause knows whether and why requests to the tenant may not start. There are
// two kinds, which may overlap: a break ends when a probe succeeds, a hold ends
// by time. Its methods are called under the Breaker's lock.
//
// Of the break, failsafe-go's circuit breaker keeps the state and counts the
// attempts. When a probe may start is kept here, because outside its executor the
// breaker knows only one constant delay; it is built with none. It also takes
// every result in the half-open state for the probe's, so it is not told of
// attempts that started before the break.
type pause struct {
	breaker    circuitbreaker.CircuitBreaker[any]
	generation int // is counted up when a break begins and when it ends

	failure       failure // of the break, while there is one
	probeAt       time.Time
	outage        backoff
	configuration backoff
	inARow        int     // attempts refused for the configuration
	lastFailure   failure // of the attempts that the breaker counts

	retryAfter        time.Time // no attempt starts before
	retryAfterFailure failure
	throttled         backoff
}

// failure is why an attempt failed, as the [Attempt] says it.
type failure struct {
	reason mapping.Reason
	cause  adapter.Cause
	detail string
}

func failureOf(a *adapter.Attempt) failure { return failure{a.Reason, a.Cause, a.Detail} }

func newPause() pause {
	return pause{
		breaker: circuitbreaker.NewBuilder[any]().
			WithFailureRateThreshold(breakerFailureShare, breakerMinAttempts, breakerPeriod).
			WithSuccessThreshold(1).
			WithDelay(0).
			Build(),
		outage:        backoff{base: 5 * time.Second, max: time.Minute},
		configuration: backoff{base: 15 * time.Second, max: 5 * time.Minute},
		throttled:     backoff{base: time.Second, max: time.Minute},
	}
}

// active reports whether the tenant is paused.
func (p *pause) active(now time.Time) bool {
	return now.Before(p.retryAfter) || !p.breaker.IsClosed()
}

// delay returns how long the next request has to wait for the pause, 0 if it may
// start.
func (p *pause) delay(now time.Time) time.Duration {
	switch p.breaker.State() {
	case circuitbreaker.HalfOpenState: // the probe is under way
		return untilDone
	case circuitbreaker.OpenState:
		return max(0, p.retryAfter.Sub(now), p.probeAt.Sub(now))
	default:
		return max(0, p.retryAfter.Sub(now))
	}
}

// describe returns why an active pause is, and when the next request may start,
// zero if that is not known.
func (p *pause) describe(now time.Time) (failure, time.Time) {
	delay := p.delay(now)
	why := p.failure
	if p.breaker.IsClosed() {
		why = p.retryAfterFailure
	}
	if delay == untilDone {
		return why, time.Time{}
	}
	return why, now.Add(delay)
}

// enter takes the breaker's permit for a request that may start by delay, and
// reports whether the request is a probe.
func (p *pause) enter() (probe bool) {
	p.breaker.TryAcquirePermit()
	return p.breaker.IsHalfOpen()
}

// cancelProbe lets another request be the probe at once. The breaker cannot take
// a permit back, but gives out a new one after it was open.
func (p *pause) cancelProbe() { p.breaker.Open() }

// count takes an attempt into account that started under the present rules, and
// reports whether a break begins.
func (p *pause) count(v verdict, why failure, now time.Time, random func() float64) bool {
	switch v {
	case answered:
		p.inARow = 0
		p.breaker.RecordSuccess()
	case failed:
		p.lastFailure = why
		p.breaker.RecordFailure()
	case misconfigured:
		if p.inARow++; p.inARow < misconfiguredInARow {
			return false
		}
		p.breaker.Open()
		p.begin(why, now.Add(p.configuration.next(random())))
		return true
	}
	if p.breaker.IsClosed() {
		return false
	}
	p.begin(p.lastFailure, now.Add(p.outage.next(random())))
	return true
}

func (p *pause) begin(why failure, probeAt time.Time) {
	p.failure, p.probeAt = why, probeAt
	p.generation++
}

// concludeProbe ends the break if the probe was answered as a working tenant
// answers, and reports whether it does. Else the next probe waits longer. A break
// that shows another cause than before goes on as one of that cause.
func (p *pause) concludeProbe(v verdict, why failure, now time.Time, random func() float64) bool {
	switch v {
	case answered, throttled:
		p.breaker.RecordSuccess()
		p.outage.reset()
		p.configuration.reset()
		p.failure, p.inARow = failure{}, 0
		p.generation++
		return true
	case misconfigured:
		p.outage.reset()
		p.probeAt = now.Add(p.configuration.next(random()))
	default:
		p.configuration.reset()
		p.probeAt = now.Add(p.outage.next(random()))
	}
	p.breaker.RecordFailure()
	p.failure = why
	return false
}

// holdFor pauses for the time that the tenant asks for, up to maxRetryAfter.
func (p *pause) holdFor(d time.Duration, why failure, now time.Time) {
	if until := now.Add(min(d, maxRetryAfter)); until.After(p.retryAfter) {
		p.retryAfter, p.retryAfterFailure = until, why
	}
}

// throttle pauses as if the tenant had asked for it, longer each time until an
// attempt is answered.
func (p *pause) throttle(why failure, now time.Time, random func() float64) {
	why.reason = mapping.ReasonRateLimited
	p.holdFor(p.throttled.next(random()), why, now)
}

func (p *pause) unthrottle() { p.throttled.reset() }

// backoff is a wait that doubles each time, from base up to max, give or take a
// fifth so that several processes do not probe at the same instant.
type backoff struct {
	base, max time.Duration
	last      time.Duration
}

// next returns the wait for a random number that is uniform in [0,1).
func (b *backoff) next(random float64) time.Duration {
	b.last = min(max(b.base, 2*b.last), b.max)
	return time.Duration((0.8 + 0.4*random) * float64(b.last))
}

func (b *backoff) reset() { b.last = 0 }
