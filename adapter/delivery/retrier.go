package delivery

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Retrier sends events to one tenant until their outcome is known, as far as
// the caller's time allows. It limits how many requests are under way at once
// and, if asked to, how many start in a second.
type Retrier struct {
	sender adapter.Sender
	policy RetryPolicy
	slots  chan struct{}
	rate   *rate.Limiter
	random func() float64
	cache  *dedupeCache

	foreign foreignAnswers
}

// RetrierOptions are a Retrier's choices.
type RetrierOptions struct {
	// Policy spaces the attempts. Default: DefaultRetryPolicy().
	Policy RetryPolicy
	// Concurrency is how many requests may be under way at once. Default: 64.
	Concurrency int
	// RateLimit is how many attempts may start in a second, 0 for any number. Only the
	// first request of each waits for that. Default: 0.
	RateLimit float64
	// Random is the source of jitter, uniform in [0,1). Default: math/rand/v2.
	Random func() float64
}

// NewRetrier returns a Retrier that sends through sender.
func NewRetrier(sender adapter.Sender, opts RetrierOptions) *Retrier {
	if opts.Policy == (RetryPolicy{}) {
		opts.Policy = DefaultRetryPolicy()
	}
	if opts.Concurrency <= 0 {
		opts.Concurrency = adapter.DefaultConcurrency
	}
	if opts.Random == nil {
		opts.Random = randomFloat
	}
	f := &Retrier{
		sender: sender,
		policy: opts.Policy,
		slots:  make(chan struct{}, opts.Concurrency),
		random: opts.Random,
		cache:  newDedupeCache(),
	}
	if opts.RateLimit > 0 {
		f.rate = rate.NewLimiter(rate.Limit(opts.RateLimit), max(1, int(opts.RateLimit/10)))
	}
	return f
}

// Concurrency returns how many requests may be under way at once.
func (f *Retrier) Concurrency() int { return cap(f.slots) }

// Forward sends what was mapped of an event, and sends it again while that may help. When ctx ends
// it starts no further attempt and leaves the event pending; an attempt under
// way is not cut off by that, because then nobody would know its outcome. So it
// returns at the latest when the Sender gives up on that attempt. It returns the
// last attempt and the number of attempts. While another call has an attempt at
// the same event under way it waits for that one's outcome, so that an event is
// never sent twice at once; an event without a messageId is never the same as
// another. What the memory knows as delivered takes neither a slot nor a token of the
// rate limit.
//
// An event that gets foreign answers is tried like others. It is dead at the end if it
// had three of them in a row, and another event had a proper answer meanwhile. As soon
// as several events get such answers and none a proper one, they count as
// misconfigured.
func (f *Retrier) Forward(ctx context.Context, mapped *mapping.Result) (adapter.Attempt, int) {
	seen := f.cache.of(mapped)
	last := adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonBudgetExceeded, Detail: "no time was left to send the event"}
	var tries foreignTries
	for attempts := 0; ; {
		if ended := seen.ended(); ended != nil && !waitFor(ctx, ended) {
			if attempts == 0 {
				last.Detail = "an attempt to send the event for another request is under way"
			}
			return last, attempts
		}
		if !seen.begin() { // another request was faster
			continue
		}
		// Not before the claim: until then another request may deliver the event.
		if seen.delivered() {
			seen.end()
			return adapter.Attempt{Outcome: adapter.Duplicate, Reason: mapping.ReasonRecentlyDelivered}, attempts
		}
		if !f.acquire(ctx) {
			seen.end()
			return f.lastTry(last, &tries), attempts
		}
		if tries.began.IsZero() {
			tries.began = time.Now()
		}
		last = f.attempt(ctx, mapped, &seen)
		attempts++
		f.count(mapped, &last, &tries)
		if last.Outcome != adapter.Pending || last.Misconfigured {
			return last, attempts
		}
		if adapter.Wait(ctx, f.policy.Delay(attempts, last.RetryAfter, f.random())) != nil {
			return f.lastTry(last, &tries), attempts
		}
	}
}

// foreignTries are the attempts at one event, as far as foreign answers go.
type foreignTries struct {
	began  time.Time // of the first attempt
	inARow int       // foreign answers, up to the last attempt
}

// maxForeign is how many foreign answers in a row an event has to have until it may be
// dead for them.
const maxForeign = 3

// count takes an attempt into account.
func (f *Retrier) count(mapped *mapping.Result, attempt *adapter.Attempt, tries *foreignTries) {
	now := time.Now()
	if !attempt.Foreign {
		f.foreign.add(attempt, 0, now)
		tries.inARow = 0
		return
	}
	// An event that comes again counts once, even without a messageId.
	f.foreign.add(attempt, f.cache.keyOfEvent(mapped)[0], now)
	tries.inARow++
	attempt.Misconfigured = attempt.Misconfigured || f.foreign.scope(tries.began, now) == scopeTenant
}

// lastTry returns what an event comes to that is not tried again.
func (f *Retrier) lastTry(last adapter.Attempt, tries *foreignTries) adapter.Attempt {
	if tries.inARow >= maxForeign && f.foreign.scope(tries.began, time.Now()) == scopeEvent {
		last.Outcome = adapter.Dead
	}
	return last
}

// attempt sends the claimed event once, ends the claim and gives the slot back. A
// panic of the Sender goes on to the caller; the event may have been sent then, so
// it is remembered as a failure.
func (f *Retrier) attempt(ctx context.Context, mapped *mapping.Result, seen *cachedEvent) (attempt adapter.Attempt) {
	attempt.Outcome = adapter.Pending
	defer func() {
		if attempt.Reason == mapping.ReasonConflict && seen.failedBefore() {
			attempt.Reason = mapping.ReasonConflictAfterFailure
		}
		seen.record(attempt.Outcome)
		seen.end()
		<-f.slots
	}()
	return f.sender.Send(context.WithoutCancel(ctx), mapped)
}

// acquire takes a slot and a token of the rate limit, and returns false if ctx
// ends first.
func (f *Retrier) acquire(ctx context.Context) bool {
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

// waitFor waits until done is closed, and returns false if ctx ends first.
func waitFor(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}
