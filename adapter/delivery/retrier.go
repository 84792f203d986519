package delivery

import (
	"context"
	"errors"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Retrier sends events to one tenant until their outcome is known, as far as the caller's time
// allows. It is safe for concurrent use.
type Retrier struct {
	sender  adapter.Sender
	breaker *Breaker
	policy  RetryPolicy
	random  func() float64
	cache   *dedupeCache
}

// RetrierOptions are a Retrier's choices.
type RetrierOptions struct {
	// Policy spaces the attempts. Default: DefaultRetryPolicy().
	Policy RetryPolicy
	// Random is the source of jitter, uniform in [0,1). Default: math/rand/v2.
	Random func() float64
}

// NewRetrier returns a Retrier that sends through sender when breaker permits it.
func NewRetrier(sender adapter.Sender, breaker *Breaker, opts RetrierOptions) *Retrier {
	if opts.Policy == (RetryPolicy{}) {
		opts.Policy = DefaultRetryPolicy()
	}
	if opts.Random == nil {
		opts.Random = randomFloat
	}
	return &Retrier{sender: sender, breaker: breaker, policy: opts.Policy, random: opts.Random,
		cache: newDedupeCache()}
}

// Concurrency returns how many requests may be in flight at once at the most.
func (r *Retrier) Concurrency() int { return r.breaker.ceiling() }

// Deliver sends what was mapped of an event, and sends it again while that may help. It returns
// the last attempt and the number of attempts.
//
// When ctx ends, Deliver starts no further attempt and leaves the event pending. It does not cut
// off an attempt in flight, whose outcome would stay unknown. So it returns at the latest when the
// Sender gives up on that attempt. If the tenant is paused for longer than ctx lasts, Deliver
// returns at once, with the reason of the pause.
//
// While another call has the same event in flight, Deliver waits for that outcome, so an event is
// never sent twice at once. An event without a messageId is never the same as another. What the
// cache knows as delivered takes neither a permit nor a token of the rate limit.
//
// An event that gets foreign answers is tried like others. At the end it is dead if it had three
// of them in a row while another event got a proper answer. As soon as several events get foreign
// answers and none a proper one, they count as misconfigured.
func (r *Retrier) Deliver(ctx context.Context, mapped *mapping.Result) (adapter.Attempt, int) {
	event := r.cache.of(mapped)
	last := adapter.Attempt{
		Outcome: adapter.Pending, Reason: mapping.ReasonBudgetExceeded, Detail: "no time was left to send the event",
	}
	var tries foreignTries
	for attempts := 0; ; {
		if ended := event.ended(); ended != nil && !waitFor(ctx, ended) {
			if attempts == 0 {
				last.Detail = "an attempt to send the event for another request is in flight"
			}
			return last, attempts
		}
		if !event.begin() { // another request was faster
			continue
		}
		// Not before the claim: until then another request may deliver the event.
		if event.delivered() {
			event.end()
			return adapter.Attempt{Outcome: adapter.Duplicate, Reason: mapping.ReasonRecentlyDelivered}, attempts
		}
		permit, err := r.breaker.acquire(ctx, 1, false)
		if err != nil {
			event.end()
			var paused *pausedError
			if attempts == 0 && errors.As(err, &paused) {
				last.Reason, last.Cause, last.Detail = paused.state.Reason, paused.state.Cause, paused.state.Detail
			}
			return r.lastTry(last, &tries), attempts
		}
		if tries.began.IsZero() {
			tries.began = permit.started
		}
		last = r.attempt(ctx, mapped, &event, permit)
		attempts++
		tries.count(&last)
		if last.Foreign && r.breaker.foreign.scope(tries.began, time.Now()) == scopeTenant {
			last.Misconfigured = true
		}
		if last.Outcome != adapter.Pending || last.Misconfigured {
			return last, attempts
		}
		if adapter.Wait(ctx, r.policy.Delay(attempts, last.RetryAfter, r.random())) != nil {
			return r.lastTry(last, &tries), attempts
		}
	}
}

// foreignTries are the foreign answers to one event.
type foreignTries struct {
	began  time.Time // when the first attempt began
	inARow int       // up to the last attempt
}

// maxForeign is how many foreign answers in a row an event must have until it may be dead for
// them.
const maxForeign = 3

func (t *foreignTries) count(attempt *adapter.Attempt) {
	if t.inARow++; !attempt.Foreign {
		t.inARow = 0
	}
}

// lastTry returns the outcome of an event that is not tried again.
func (r *Retrier) lastTry(last adapter.Attempt, tries *foreignTries) adapter.Attempt {
	if tries.inARow >= maxForeign && r.breaker.foreign.scope(tries.began, time.Now()) == scopeEvent {
		last.Outcome = adapter.Dead
	}
	return last
}

// attempt sends the claimed event once, ends the claim and gives back the permit. A panic of the
// Sender goes on to the caller. The event may have been sent then, so it counts as a failure.
func (r *Retrier) attempt(
	ctx context.Context, mapped *mapping.Result, event *cachedEvent, permit *Permit,
) (attempt adapter.Attempt) {
	attempt.Outcome = adapter.Pending
	defer func() {
		if attempt.Reason == mapping.ReasonConflict && event.failedBefore() {
			attempt.Reason = mapping.ReasonConflictAfterFailure
		}
		event.record(attempt.Outcome)
		event.end()
		if attempt.Foreign { // an event that comes again counts once, even without a messageId
			permit.event = r.cache.keyOfEvent(mapped)[0]
		}
		permit.Done(attempt)
	}()
	return r.sender.Send(context.WithoutCancel(ctx), mapped)
}

// waitFor waits until done is closed, and returns false if ctx ends first.
func waitFor(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}
