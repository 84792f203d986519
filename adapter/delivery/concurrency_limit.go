package delivery

import "time"

const (
	// limitRound is the least number of attempts in a round.
	limitRound = 16
	// limitLatencyFactor and limitLatencyTolerance say when a round is slow: its answers take
	// longer on average than the factor of the usual, plus the tolerance. One slow round may be
	// chance, two in a row are not.
	limitLatencyFactor    = 1.5
	limitLatencyTolerance = float64(30 * time.Millisecond)
	// limitSlowCut is what remains of the limit after slow rounds.
	limitSlowCut = 0.8
)

// concurrencyLimit finds out how many requests at once a tenant can take, between a floor and a
// ceiling. It uses additive increase and multiplicative decrease, as TCP does. A round is as many
// attempts as may be in flight at once. After a round the limit rises by a sixteenth of the ceiling
// if it was used up. It falls by the share of overload answers, at most by half, and when answers
// become slow. From a reset to the first sign of overload it doubles instead.
//
// failsafe-go's adaptivelimiter cannot replace it. It sees latencies only, and a 429 or a 5xx is
// quick. By default it adds 1 once in 50 attempts and a second, so it takes a minute from 4 to 64.
// And it learns its baseline from the latencies that its own limit causes.
type concurrencyLimit struct {
	floor, ceiling float64
	limit          float64
	doubling       bool
	// cutAt is the number of the last permit before the limit was cut. Attempts up to there belong
	// to the old limit.
	cutAt uint64
	// usual is the average latency in nanoseconds of a tenant without overload, 0 if unknown.
	usual float64
	// slow says that the last round was slow.
	slow bool

	// The present round.
	answers, overloads int
	latency            float64 // the sum over the answers, in nanoseconds
	usedUp             bool
}

func newConcurrencyLimit(floor, ceiling int) concurrencyLimit {
	l := concurrencyLimit{floor: float64(floor), ceiling: float64(ceiling)}
	l.reset(0)
	return l
}

// current returns how many requests may be in flight at once.
func (l *concurrencyLimit) current() int { return int(l.limit) }

func (l *concurrencyLimit) atFloor() bool { return l.limit == l.floor }

// reset starts again from the floor. Permits up to the number last no longer count.
func (l *concurrencyLimit) reset(last uint64) {
	l.limit, l.doubling, l.slow, l.cutAt = l.floor, true, false, last
	l.clearRound()
}

func (l *concurrencyLimit) clearRound() {
	l.answers, l.overloads, l.latency, l.usedUp = 0, 0, 0, false
}

// use notes that a request starts, as the inFlight-th at once.
func (l *concurrencyLimit) use(inFlight int) {
	l.usedUp = l.usedUp || inFlight >= l.current()
}

// fresh reports whether the permit started under the present limit.
func (l *concurrencyLimit) fresh(number uint64) bool { return number > l.cutAt }

// record counts a fresh attempt. last is the number of the last permit given out. A round ends
// early when a quarter of its answers are overload answers.
func (l *concurrencyLimit) record(v verdict, latency time.Duration, last uint64) {
	switch v {
	case answered:
		l.answers++
		l.latency += float64(latency)
	case throttled, failed:
		l.overloads++
	default:
		return
	}
	size := max(limitRound, l.current())
	if l.answers+l.overloads < size && l.overloads < size/4 {
		return
	}
	before := l.limit
	l.adjust(l.learn())
	if l.limit < before {
		l.cutAt = last
	}
	l.clearRound()
}

// learn compares the round's latency with the usual one, and reports whether answers have become
// slow. At the floor the limit cannot be the cause of slow answers, so the usual latency rises only
// there.
func (l *concurrencyLimit) learn() bool {
	if l.answers < limitRound/2 {
		return false
	}
	mean := l.latency / float64(l.answers)
	again := l.slow
	l.slow = l.usual > 0 && mean > limitLatencyFactor*l.usual+limitLatencyTolerance
	switch {
	case l.usual == 0:
		l.usual = mean
	case mean < l.usual:
		l.usual += (mean - l.usual) / 16
	case l.atFloor():
		l.usual += (mean - l.usual) / 2
	}
	return again && l.slow
}

// adjust ends a round.
func (l *concurrencyLimit) adjust(slow bool) {
	share := float64(l.overloads) / float64(l.answers+l.overloads)
	l.doubling = l.doubling && share == 0 && !slow
	next := l.limit * max(0.5, 1-share)
	switch {
	case slow:
		next *= limitSlowCut
	case l.usedUp && l.doubling:
		next *= 2
	case l.usedUp:
		next += (1 - share) * max(1, l.ceiling/16)
	}
	l.limit = min(max(next, l.floor), l.ceiling)
}
