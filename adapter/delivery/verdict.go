package delivery

import (
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// verdict is the meaning of an attempt for the tenant, whatever it means for the event.
type verdict uint8

const (
	// answered: the tenant works. It may have refused the event.
	answered verdict = iota + 1
	// throttled: the tenant works and wants fewer requests.
	throttled
	// failed: there was no answer, or the answer says that the tenant is out of order.
	failed
	// misconfigured: the tenant refuses every event under the present configuration.
	misconfigured
	// unknown: the fault is our own, or a foreign answer may concern the event alone.
	unknown
)

func verdictOf(a adapter.Attempt) verdict {
	switch {
	case a.Misconfigured:
		return misconfigured
	case a.Outcome.Settled():
		return answered
	}
	switch a.Reason {
	case mapping.ReasonRateLimited:
		return throttled
	case mapping.ReasonServerError, mapping.ReasonTimeout, mapping.ReasonNetworkError:
		return failed
	case mapping.ReasonUnexpectedAnswer:
		if !a.Foreign { // a page in place of a success
			return failed
		}
		return unknown
	default:
		return unknown
	}
}

// judge learns from an attempt.
func (b *Breaker) judge(p *Permit, a adapter.Attempt, now time.Time) {
	b.foreign.add(&a, p.event, now)
	if a.Foreign && b.foreign.scope(now, now) == scopeTenant {
		// Several events have had such answers already.
		a.Misconfigured = true
		b.pause.inARow = max(b.pause.inARow, misconfiguredInARow-1)
	}
	v := verdictOf(a)
	fresh := b.limit.fresh(p.number)
	switch {
	case p.probe:
		if b.pause.concludeProbe(v, failureOf(&a), now, b.random) {
			b.limit.reset(b.started)
		}
	case p.generation != b.pause.generation:
		// It started before the circuit last opened or closed, so it says nothing about the tenant
		// now.
	case b.pause.count(v, failureOf(&a), now, b.random): // and the circuit opens
		b.limit.reset(b.started)
	case fresh:
		// The time of one request is what says something about the tenant.
		b.limit.record(v, now.Sub(p.started)/time.Duration(max(1, a.Requests)), b.started)
	}

	// Retry-After stops all requests. The limit starts again from its floor.
	switch {
	case (v == throttled || v == failed) && a.RetryAfter > 0:
		b.pause.waitFor(a.RetryAfter, failureOf(&a), now)
		b.limit.reset(b.started)
	case v == throttled && fresh && b.limit.atFloor():
		// The limit can fall no further, so only a pause can slow the requests down.
		b.pause.throttle(failureOf(&a), now, b.random)
		b.limit.reset(b.started)
	case v == answered && fresh:
		b.pause.unthrottle()
	}
}
