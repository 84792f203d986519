package delivery

import (
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// verdict is what an attempt says about the tenant, whatever it means for the
// event.
type verdict uint8

const (
	// answered: the tenant works. It may have refused the event all the same.
	answered verdict = iota + 1
	// throttled: the tenant works and wants fewer requests.
	throttled
	// failed: there was no answer, or one that says that the tenant is out of order.
	failed
	// misconfigured: the tenant refuses every event under the present configuration.
	misconfigured
	// unknown: the fault is our own, or the answer is foreign and may be about the event.
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
		if !a.Foreign { // a page in the place of a success
			return failed
		}
		return unknown
	default:
		return unknown
	}
}

// judge draws the conclusions from an attempt.
func (g *Breaker) judge(p *Permit, a adapter.Attempt, now time.Time) {
	g.foreign.add(&a, p.event, now)
	if a.Foreign && g.foreign.scope(now, now) == scopeTenant {
		// Several events have had such answers already.
		a.Misconfigured = true
		g.pause.inARow = max(g.pause.inARow, misconfiguredInARow-1)
	}
	v := verdictOf(a)
	fresh := g.limit.fresh(p.number)
	switch {
	case p.probe:
		if g.pause.concludeProbe(v, failureOf(&a), now, g.random) {
			g.limit.reset(g.started)
		}
	case p.generation != g.pause.generation:
		// It started before the pause or its end, so it tells of a tenant that was.
	case g.pause.count(v, failureOf(&a), now, g.random): // and a break begins
		g.limit.reset(g.started)
	case fresh:
		// What tells of the tenant is the time of one request.
		g.limit.record(v, now.Sub(p.started)/time.Duration(max(1, a.Requests)), g.started)
	}

	// A tenant that asks for time means all requests, those under way as well.
	switch {
	case (v == throttled || v == failed) && a.RetryAfter > 0:
		g.pause.waitFor(a.RetryAfter, failureOf(&a), now)
		g.limit.reset(g.started)
	case v == throttled && fresh && g.limit.atFloor():
		// The limit can fall no further, so only a pause can slow the requests down.
		g.pause.throttle(failureOf(&a), now, g.random)
		g.limit.reset(g.started)
	case v == answered && fresh:
		g.pause.unthrottle()
	}
}
