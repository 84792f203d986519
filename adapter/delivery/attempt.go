package delivery

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// deliver makes one attempt at an event, unless it must wait or needs none, and records the result.
// It returns false if ctx ended before that.
func (d *Dispatcher) deliver(ctx context.Context, event *adapter.Leased) bool {
	if event.Damaged {
		step := DamagedStep(d.Now())
		d.settle(ctx, event, &mapping.Result{}, &step, nil, 0)
		return true
	}
	if due, held := d.barriers.until(event, d.Now()); held {
		d.recordStep(ctx, event, &adapter.Step{Outcome: adapter.Pending, At: d.Now(), Due: due})
		return true
	}
	// Today's rules decide, at the time at which the event was accepted.
	mapped := d.mapLeased(ctx, event)
	switch mapped.Kind {
	case mapping.KindUnfinished:
		if ctx.Err() != nil {
			return false
		}
		// The lease is about to end. The rules alone tell what kind of call the event is.
		byRules := d.mapEvent(event, mapping.Options{RulesOnly: true})
		d.giveBack(ctx, event, &byRules)
		return true
	case mapping.KindSkip, mapping.KindReject:
		result := resultOf(0, &mapped)
		d.settle(ctx, event, &mapped, &adapter.Step{Outcome: result.Outcome, Reason: result.Reason,
			Detail: result.Detail, At: d.Now()}, mapped.Warnings, 0)
		return true
	case 0:
		now := d.Now()
		attempt := adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonInternalError,
			Detail: internalErrorDetail, Unprocessed: true}
		d.settle(ctx, event, &mapped, d.judge(event, true, &attempt, now, now), nil, 0)
		return true
	}
	return d.send(ctx, event, &mapped)
}

// mapLeased maps an event, as long as the lease leaves time for an attempt.
func (d *Dispatcher) mapLeased(ctx context.Context, event *adapter.Leased) mapping.Result {
	ctx, cancel := d.withinLease(ctx, event)
	defer cancel()
	return d.mapEvent(event, mapping.Options{Done: ctx.Done()})
}

func (d *Dispatcher) mapEvent(event *adapter.Leased, opts mapping.Options) mapping.Result {
	return mapOne(d.mapper, event.Payload, mapTime(event.ReceivedAt, event.Run), opts, d.OnPanic)
}

// DamagedStep makes an event with a damaged payload a dead letter.
func DamagedStep(at time.Time) adapter.Step {
	return adapter.Step{
		Outcome: adapter.Dead, Reason: mapping.ReasonPayloadDamaged, At: at,
		Detail: "the stored payload does not match its checksum: check the disk of the store, and replay the event " +
			"from the Segment archive",
	}
}

// send sends an event when the breaker permits it.
func (d *Dispatcher) send(ctx context.Context, event *adapter.Leased, mapped *mapping.Result) bool {
	keyed := repeatable(mapped)
	for {
		if !d.awaitRecording(ctx, event) {
			return false
		}
		// Before the breaker, so that an event that is not sent uses up no token of the rate limit.
		if d.withhold(ctx, event, mapped, keyed) {
			return true
		}
		permit, err := d.acquire(ctx, event)
		switch {
		case ctx.Err() != nil && err != nil:
			return false
		case err != nil: // the lease is about to end
			d.giveBack(ctx, event, mapped)
			return true
		}
		// And after it, because the wait may have been long.
		if d.overdue.any() {
			permit.Cancel()
			continue
		}
		if d.withhold(ctx, event, mapped, keyed) {
			permit.Cancel()
			return true
		}
		if !keyed && d.UnkeyedDead {
			// ctx does not cut it short, or an event could be marked that was never sent.
			switch err := d.queue.MarkSending(context.WithoutCancel(ctx), event); {
			case errors.Is(err, adapter.ErrLeaseLost):
				permit.Cancel()
				return true // another process delivers it
			case err != nil:
				permit.Cancel()
				d.trouble(fmt.Errorf("mark an event: %w", err))
				if adapter.Wait(ctx, leaseRest.Base) != nil {
					return false
				}
				continue
			}
			if d.leaseOver(event) { // it ended while the event was being marked
				permit.Cancel()
				now := d.Now()
				// This takes off the mark.
				d.recordStep(ctx, event, &adapter.Step{Outcome: adapter.Pending, At: now, Due: now})
				return true
			}
		}
		began := d.Now()
		attempt := d.attempt(ctx, mapped)
		permit.event = uint64(event.ID)
		permit.Done(attempt)
		if attempt.Foreign {
			// It costs the event a try only if other events get proper answers during the event's
			// horizon.
			attempt.Misconfigured = d.breaker.scope(d.Horizon) != scopeEvent
		}
		at := d.Now()
		step, warnings := d.judge(event, keyed, &attempt, began, at), mergeWarnings(mapped.Warnings, attempt.Warnings)
		d.settle(ctx, event, mapped, step, warnings, at.Sub(began))
		return true
	}
}

// leaseMargin is how much of a lease must be left when an attempt ends at the latest, so that it
// can be recorded.
const leaseMargin = 5 * time.Second

// withhold settles or releases an event that must not be sent now, and reports whether it did.
func (d *Dispatcher) withhold(ctx context.Context, event *adapter.Leased, mapped *mapping.Result, keyed bool) bool {
	now := d.Now()
	ambiguous := !event.AmbiguousSince.IsZero()
	step := &adapter.Step{Outcome: adapter.Dead, At: now}
	switch {
	case d.leaseOver(event):
		d.giveBack(ctx, event, mapped)
		return true
	case !keyed && d.UnkeyedDead && event.Interrupted:
		step.Reason = mapping.ReasonUnkeyedAmbiguous
		step.Detail = "the process ended during an attempt" + notSentTwice
	case !keyed && d.UnkeyedDead && ambiguous:
		step.Reason = mapping.ReasonUnkeyedAmbiguous
		step.Detail = "SaaSquatch may have processed an earlier attempt" + notSentTwice
	// An event that SaaSquatch cannot have processed is safe to send at any age.
	case ambiguous && !now.Before(event.AmbiguousSince.Add(d.Horizon)):
		step.Reason, step.Detail = mapping.ReasonHorizonOver, d.horizonDetail()
	default:
		return false
	}
	d.settle(ctx, event, mapped, step, mapped.Warnings, 0)
	return true
}

// mapTime returns the time at which a stored event is mapped, zero if its age does not matter: a
// replay has judged the age of its events.
func mapTime(received time.Time, run int64) time.Time {
	if run != 0 {
		return time.Time{}
	}
	return received
}

const notSentTwice = ", and an event without an idempotency key is not sent twice"

// attempt makes one attempt. Nothing cuts it short, because its outcome would stay unknown. A panic
// makes it an attempt that SaaSquatch may have processed.
func (d *Dispatcher) attempt(ctx context.Context, mapped *mapping.Result) (attempt adapter.Attempt) {
	defer func() {
		if cause := recover(); cause != nil {
			attempt = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonInternalError,
				Detail: internalErrorDetail, Unprocessed: mapped.Kind == mapping.KindUserUpsert}
			d.OnPanic(cause, debug.Stack())
		}
	}()
	return d.sender.Send(context.WithoutCancel(ctx), mapped)
}

// An event that met a wrong configuration waits up to an eighth of its age, within these bounds.
// The breaker may pause the tenant for longer. If it does not, because SaaSquatch refuses this one
// event only, the wait keeps the history of attempts short.
const minMisconfiguredWait, maxMisconfiguredWait = 5 * time.Second, 10 * time.Minute

// judge decides how an event goes on after an attempt.
func (d *Dispatcher) judge(
	event *adapter.Leased, keyed bool, attempt *adapter.Attempt, began, at time.Time,
) *adapter.Step {
	step := &adapter.Step{
		Outcome: attempt.Outcome, Reason: attempt.Reason, Detail: attempt.Detail, Status: attempt.Status,
		Counted: !attempt.Misconfigured, Began: began, At: at,
	}
	switch {
	case attempt.Reason == mapping.ReasonConflict && (event.Attempts > 0 || event.Redriven):
		step.Reason = mapping.ReasonConflictAfterFailure
	case attempt.Outcome != adapter.Pending:
	case attempt.Misconfigured: // or that is unknown
		longest := min(max(at.Sub(event.ReceivedAt)/8, minMisconfiguredWait), maxMisconfiguredWait)
		step.Due = at.Add(time.Duration(d.Random() * float64(longest)))
	case !attempt.Unprocessed && !keyed && d.UnkeyedDead:
		step.Ambiguous = true
		step.Outcome, step.Reason = adapter.Dead, mapping.ReasonUnkeyedAmbiguous
		step.Detail = "SaaSquatch may have processed an attempt that ended in " + string(attempt.Reason) + notSentTwice
	default:
		step.Ambiguous = !attempt.Unprocessed
		d.schedule(event, attempt, step)
	}
	return step
}

// schedule sets when the next attempt is due, or gives up the event if that would be after the
// horizon.
func (d *Dispatcher) schedule(event *adapter.Leased, attempt *adapter.Attempt, step *adapter.Step) {
	tried := *event
	if tried.FirstAttempt.IsZero() {
		tried.FirstAttempt = step.Began
	}
	if step.Ambiguous && tried.AmbiguousSince.IsZero() {
		tried.AmbiguousSince = step.Began
	}
	step.Due = step.At.Add(d.Policy.Delay(event.Failed+1, attempt.RetryAfter, d.Random()))
	// The last attempt must end before the horizon does.
	last := d.horizon(&tried).Add(-d.AttemptTimeout)
	switch {
	case !step.Due.After(last):
	case last.Sub(step.At) > d.Policy.Base:
		step.Due = last
	case tried.AmbiguousSince.IsZero() && d.uptime.at(d.Now()) < min(minTrial, d.Horizon):
		// Most of its time has passed without attempts.
	default:
		step.Outcome, step.Reason = adapter.Dead, mapping.ReasonHorizonOver
		step.Detail = d.horizonDetail() + "; the last ended in " + string(attempt.Reason)
		if attempt.Foreign && tried.AmbiguousSince.IsZero() { // SaaSquatch has not seen it
			step.Reason = mapping.ReasonUnexpectedAnswer
			step.Detail = d.horizonDetail() + ", while other events got SaaSquatch's answers"
		}
		if attempt.Detail != "" {
			step.Detail += ": " + attempt.Detail
		}
	}
}

// horizon returns when to give up the event, zero if there is no end yet. An attempt that
// SaaSquatch cannot have processed leaves no trace there. So only the attempts that it may have
// processed count, as soon as there is one.
func (d *Dispatcher) horizon(event *adapter.Leased) time.Time {
	switch {
	case !event.AmbiguousSince.IsZero():
		return event.AmbiguousSince.Add(d.Horizon)
	case !event.FirstAttempt.IsZero():
		return event.FirstAttempt.Add(d.Horizon)
	default:
		return time.Time{}
	}
}

func (d *Dispatcher) horizonDetail() string {
	return fmt.Sprintf("no attempt succeeded within %s", d.Horizon)
}

// settle records a step, and reports the outcome with the warnings.
func (d *Dispatcher) settle(
	ctx context.Context, event *adapter.Leased, mapped *mapping.Result, step *adapter.Step,
	warnings []mapping.Warning, took time.Duration,
) {
	step.EventKey = eventKeyOf(mapped)
	switch {
	case step.Outcome.Settled():
		defer d.barriers.end(event)
	case mapped.Kind == mapping.KindUserUpsert && d.barriers.begin(event, true, step.Due, step.At):
		// Before the upsert itself, so that they stay behind it if the process ends now.
		d.park(ctx, d.userQueues.takeBehind(event, step.Due))
	}
	if !d.recordStep(ctx, event, step) || !step.Outcome.Settled() {
		return
	}
	attempts := event.Attempts
	if step.Counted {
		attempts++
	}
	d.Record(adapter.Result{
		MessageID:      event.MessageID,
		IdempotencyKey: mapped.UserEvent.IdempotencyKey,
		EventKey:       step.EventKey,
		Outcome:        step.Outcome,
		Reason:         step.Reason,
		Detail:         step.Detail,
		Warnings:       warnings,
		Attempts:       attempts,
		Status:         step.Status,
		Duration:       took,
		Lag:            step.At.Sub(event.ReceivedAt),
	})
}

// recordStep records a step, and retries while the queue fails, because only this process knows the
// outcome. It returns false if it could not record it.
func (d *Dispatcher) recordStep(ctx context.Context, event *adapter.Leased, step *adapter.Step) bool {
	watch := d.overdue.watch()
	defer watch.end()
	lasting, ending := context.WithoutCancel(ctx), ctx
	for rest := leaseRest; ; {
		recordings := []adapter.Recording{{Leased: event, Step: *step}}
		err := d.queue.RecordAll(lasting, recordings)
		switch {
		case err == nil && recordings[0].Lost:
			if step.Counted || step.Outcome.Settled() { // otherwise nothing is lost with it
				d.OnError(fmt.Errorf("record %s of delivery %d: %w", step.Outcome, event.ID, adapter.ErrLeaseLost))
			}
			return false
		case err == nil:
			d.troubled.Store(false)
			return true
		}
		d.trouble(fmt.Errorf("record %s: %w", step.Outcome, err))
		if !errors.As(err, new(*adapter.UnavailableError)) {
			watch.end() // other events may not meet this fault
		}
		if adapter.Wait(ending, rest.Next()) == nil {
			continue
		}
		if ending != ctx {
			return false // the lease ends by itself, and the event is delivered again
		}
		// ctx has ended. It retries a little longer, because otherwise the event would be sent
		// again for nothing.
		var cancel context.CancelFunc
		ending, cancel = context.WithTimeout(lasting, releaseTimeout)
		defer cancel()
		lasting = ending
	}
}

// acquire waits for a permit, as long as the lease leaves time for an attempt.
func (d *Dispatcher) acquire(ctx context.Context, event *adapter.Leased) (*Permit, error) {
	ctx, cancel := d.withinLease(ctx, event)
	defer cancel()
	return d.breaker.Acquire(ctx)
}

// withinLease returns a context that ends when it is too late to begin an attempt at the event.
func (d *Dispatcher) withinLease(ctx context.Context, event *adapter.Leased) (context.Context, context.CancelFunc) {
	if event.Until.IsZero() {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d.leaseLeft(event))
}

// leaseLeft returns for how long an attempt at the event may still begin.
func (d *Dispatcher) leaseLeft(event *adapter.Leased) time.Duration {
	return event.Until.Sub(d.Now()) - d.AttemptTimeout - leaseMargin
}

// leaseOver reports whether it is too late to begin an attempt at the event: its outcome could not
// be recorded before the lease ends.
func (d *Dispatcher) leaseOver(event *adapter.Leased) bool {
	return !event.Until.IsZero() && d.leaseLeft(event) <= 0
}

// giveBack releases an event whose lease is about to end.
func (d *Dispatcher) giveBack(ctx context.Context, event *adapter.Leased, mapped *mapping.Result) {
	if now := d.Now(); mapped.Kind == mapping.KindUserUpsert {
		d.barriers.begin(event, false, now, now)
	}
	if err := d.queue.Release(context.WithoutCancel(ctx), []*adapter.Leased{event}); err != nil {
		d.trouble(fmt.Errorf("release an event: %w", err))
	}
}
