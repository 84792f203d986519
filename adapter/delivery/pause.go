package delivery

import (
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

const (
	// The circuit breaker opens when at least half of at least 20 attempts within 10 s failed. A
	// 429 is no failure: a tenant that counts requests works. The concurrency limit and
	// Retry-After deal with it.
	breakerFailureShare = 0.5
	breakerMinAttempts  = 20
	breakerPeriod       = 10 * time.Second

	// misconfiguredInARow is how many attempts must be refused for the configuration, with none
	// answered in between, until the breaker opens: a proxy may answer an odd 403.
	misconfiguredInARow = 3

	// maxRetryAfter caps what Retry-After can ask for.
	maxRetryAfter = 5 * time.Minute
)

// pause decides whether requests to the tenant may start, and says why not. The breaker opens for
// an outage or the configuration, and closes when a probe succeeds. Beside that, Retry-After and
// 429 stop requests until a time. A lock of Breaker guards its methods.
//
// failsafe-go's circuit breaker is longer here than this one: outside its executor it knows one
// constant delay, it takes every result in the half-open state for the probe's, and a permit
// cannot be given back.
type pause struct {
	circuit    circuit
	recent     recentAttempts
	generation int // counts the times that the circuit opened or closed

	failure       failure // why the circuit is open
	probeAt       time.Time
	outage        adapter.Backoff
	configuration adapter.Backoff
	inARow        int     // attempts refused for the configuration
	lastFailure   failure // of the attempts in recent

	retryAfter        time.Time // no attempt starts before
	retryAfterFailure failure
	throttled         adapter.Backoff
}

// circuit is the state of the circuit breaker.
type circuit uint8

const (
	// closed: requests may start.
	closed circuit = iota
	// open: no request may start until a probe is due.
	open
	// halfOpen: the probe is in flight.
	halfOpen
)

// failure is why an attempt failed, as the [adapter.Attempt] says it.
type failure struct {
	reason mapping.Reason
	cause  adapter.Cause
	detail string
}

func failureOf(a *adapter.Attempt) failure { return failure{a.Reason, a.Cause, a.Detail} }

func newPause() pause {
	return pause{
		outage:        adapter.Backoff{Base: 5 * time.Second, Max: time.Minute},
		configuration: adapter.Backoff{Base: 15 * time.Second, Max: 5 * time.Minute},
		throttled:     adapter.Backoff{Base: time.Second, Max: time.Minute},
	}
}

// active reports whether the tenant is paused.
func (p *pause) active(now time.Time) bool { return now.Before(p.retryAfter) || p.circuit != closed }

// delay returns how long the next request must wait for the pause, 0 if it may start.
func (p *pause) delay(now time.Time) time.Duration {
	switch p.circuit {
	case halfOpen:
		return untilDone
	case open:
		return max(0, p.retryAfter.Sub(now), p.probeAt.Sub(now))
	default:
		return max(0, p.retryAfter.Sub(now))
	}
}

// describe returns the cause of an active pause, and when the next request may start, zero if
// that is unknown.
func (p *pause) describe(now time.Time) (failure, time.Time) {
	delay := p.delay(now)
	why := p.failure
	if p.circuit == closed {
		why = p.retryAfterFailure
	}
	if delay == untilDone {
		return why, time.Time{}
	}
	return why, now.Add(delay)
}

// enter has a request start whose delay is over, and reports whether it is the probe.
func (p *pause) enter() (probe bool) {
	if p.circuit == open {
		p.circuit = halfOpen
	}
	return p.circuit == halfOpen
}

// cancelProbe lets another request be the probe at once.
func (p *pause) cancelProbe() { p.circuit = open }

// count counts an attempt that started in the present generation, and reports whether the circuit
// opens.
func (p *pause) count(v verdict, why failure, now time.Time, random func() float64) bool {
	switch v {
	case answered:
		p.inARow = 0
	case failed:
		p.lastFailure = why
	case misconfigured:
		if p.inARow++; p.inARow < misconfiguredInARow {
			return false
		}
		p.trip(why, now.Add(jittered(p.configuration.Next(), random)))
		return true
	default:
		return false
	}
	attempts, failures := p.recent.add(now, v == failed)
	if attempts < breakerMinAttempts || float64(failures) < breakerFailureShare*float64(attempts) {
		return false
	}
	p.trip(p.lastFailure, now.Add(jittered(p.outage.Next(), random)))
	return true
}

// trip opens the circuit.
func (p *pause) trip(why failure, probeAt time.Time) {
	p.circuit, p.recent = open, recentAttempts{}
	p.failure, p.probeAt = why, probeAt
	p.generation++
}

// concludeProbe closes the circuit if the probe was answered as a working tenant answers, and
// reports whether it does. Else the next probe waits longer. A probe that fails for another cause
// than the last changes the cause of the pause.
func (p *pause) concludeProbe(v verdict, why failure, now time.Time, random func() float64) bool {
	switch v {
	case answered, throttled:
		p.circuit = closed
		p.outage.Reset()
		p.configuration.Reset()
		p.failure, p.inARow = failure{}, 0
		p.generation++
		return true
	case misconfigured:
		p.outage.Reset()
		p.probeAt = now.Add(jittered(p.configuration.Next(), random))
	default:
		p.configuration.Reset()
		p.probeAt = now.Add(jittered(p.outage.Next(), random))
	}
	p.circuit, p.failure = open, why
	return false
}

// waitFor pauses for the time that the tenant asks for, up to maxRetryAfter.
func (p *pause) waitFor(d time.Duration, why failure, now time.Time) {
	if until := now.Add(min(d, maxRetryAfter)); until.After(p.retryAfter) {
		p.retryAfter, p.retryAfterFailure = until, why
	}
}

// throttle pauses as if the tenant had asked for it, longer each time until an attempt is
// answered.
func (p *pause) throttle(why failure, now time.Time, random func() float64) {
	why.reason = mapping.ReasonRateLimited
	p.waitFor(jittered(p.throttled.Next(), random), why, now)
}

func (p *pause) unthrottle() { p.throttled.Reset() }

// jittered returns a wait within a fifth of d, so that several processes do not probe at the same
// instant.
func jittered(d time.Duration, random func() float64) time.Duration {
	return time.Duration((0.8 + 0.4*random()) * float64(d))
}

// recentAttempts counts the attempts of the last breakerPeriod by the second.
type recentAttempts struct {
	began   time.Time // of second 0, zero before the first attempt
	seconds [breakerPeriod / time.Second]struct{ number, attempts, failures int }
}

// add counts an attempt, and returns the numbers with it.
func (r *recentAttempts) add(now time.Time, failed bool) (attempts, failures int) {
	if r.began.IsZero() {
		r.began = now
	}
	number := int(now.Sub(r.began) / time.Second)
	current := &r.seconds[number%len(r.seconds)]
	if current.number != number {
		current.number, current.attempts, current.failures = number, 0, 0
	}
	current.attempts++
	if failed {
		current.failures++
	}
	for _, second := range r.seconds {
		if number-second.number < len(r.seconds) {
			attempts += second.attempts
			failures += second.failures
		}
	}
	return attempts, failures
}
