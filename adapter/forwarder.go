package adapter

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"segment-saasquatch/mapping"
)

// Forwarder sends events to one tenant until their outcome is known, as far as
// the caller's time allows. It limits how many requests are under way at once
// and, if asked to, how many start in a second.
type Forwarder struct {
	sender Sender
	policy RetryPolicy
	slots  chan struct{}
	rate   *rate.Limiter
	random func() float64
	memory *memory
}

// ForwarderOptions are a Forwarder's choices.
type ForwarderOptions struct {
	// Policy spaces the attempts. Default: DefaultRetryPolicy().
	Policy RetryPolicy
	// Concurrency is how many requests may be under way at once. Default: 64.
	Concurrency int
	// RateLimit is how many requests may start in a second, 0 for any number. Default: 0.
	RateLimit float64
	// Random is the source of jitter, uniform in [0,1). Default: math/rand/v2.
	Random func() float64
}

// DefaultConcurrency is how many requests to a tenant may be under way at once:
// enough for 1000 events in four seconds where SaaSquatch takes 250 ms for each.
const DefaultConcurrency = 64

// NewForwarder returns a Forwarder that sends through sender.
func NewForwarder(sender Sender, opts ForwarderOptions) *Forwarder {
	if opts.Policy == (RetryPolicy{}) {
		opts.Policy = DefaultRetryPolicy()
	}
	if opts.Concurrency <= 0 {
		opts.Concurrency = DefaultConcurrency
	}
	if opts.Random == nil {
		opts.Random = randomFloat
	}
	f := &Forwarder{
		sender: sender,
		policy: opts.Policy,
		slots:  make(chan struct{}, opts.Concurrency),
		random: opts.Random,
		memory: newMemory(),
	}
	if opts.RateLimit > 0 {
		f.rate = rate.NewLimiter(rate.Limit(opts.RateLimit), max(1, int(opts.RateLimit/10)))
	}
	return f
}

// Concurrency returns how many requests may be under way at once.
func (f *Forwarder) Concurrency() int { return cap(f.slots) }

// Forward sends the event and sends it again while that may help. When ctx ends
// it starts no further attempt and leaves the event pending; an attempt under
// way is not cut off by that, because then nobody would know its outcome. So it
// returns at the latest when the Sender gives up on that attempt. It returns the
// last attempt and the number of attempts.
func (f *Forwarder) Forward(ctx context.Context, event *mapping.UserEvent, messageID string) (Attempt, int) {
	seen := f.memory.of(event, messageID)
	last := Attempt{Outcome: Pending, Reason: ReasonBudgetExceeded, Detail: "no time was left to send the event"}
	for attempts := 0; ; {
		if !f.acquire(ctx) {
			return last, attempts
		}
		if seen.delivered() { // by another request while this one waited
			<-f.slots
			return Attempt{Outcome: Duplicate, Reason: ReasonRecentlyDelivered}, attempts
		}
		attempt := f.sender.Send(context.WithoutCancel(ctx), event)
		<-f.slots
		attempts++
		if attempt.Reason == ReasonConflict && seen.failedBefore() {
			attempt.Reason = ReasonConflictAfterFailure
		}
		seen.record(attempt.Outcome)
		last = attempt
		if attempt.Outcome != Pending || attempt.Misconfigured {
			return last, attempts
		}
		if !wait(ctx, f.policy.Delay(attempts, attempt.RetryAfter, f.random())) {
			return last, attempts
		}
	}
}

// acquire takes a slot and a token of the rate limit, and returns false if ctx
// ends first.
func (f *Forwarder) acquire(ctx context.Context) bool {
	if f.rate != nil && f.rate.Wait(ctx) != nil {
		return false
	}
	if ctx.Err() != nil {
		return false
	}
	select {
	case f.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// wait waits for d, and returns false if ctx ends first or is sure to.
func wait(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
