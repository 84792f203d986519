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

// work takes the event in front of a user's queue, and in bulk those in front of others that wait, and
// makes an attempt. It returns false if ctx ended before that. The events then stay leased until Run
// releases them.
func (d *Dispatcher) work(ctx context.Context) bool {
	if d.bulk == nil {
		q := d.userQueues.next(ctx)
		return q != nil && d.deliver(ctx, q)
	}
	switch queues := d.userQueues.nextOf(ctx, d.bulkSize); {
	case len(queues) == 0:
		return false
	case queues[0].alone != nil:
		return d.send(ctx, queues[0], queues[0].alone)
	default:
		return d.deliverAll(ctx, queues)
	}
}

// bulkSize returns how many events a call may have now.
func (d *Dispatcher) bulkSize() int { return d.breaker.Bulk(min(d.Bulk, d.bulk.BulkSize())) }

// deliver makes an attempt at the event in front of a user's queue. It returns false if ctx ended before
// that.
func (d *Dispatcher) deliver(ctx context.Context, q *userQueue) bool {
	switch mapped, state := d.prepare(ctx, q); state {
	case toBeSent:
		return d.send(ctx, q, &toSendAlone{mapped: mapped})
	default:
		return state != interrupted
	}
}

// preparation is what is left to do with an event.
type preparation uint8

const (
	// toBeSent: an attempt.
	toBeSent preparation = iota + 1
	// finished: nothing. A step is handed over, or the event is released.
	finished
	// interrupted: nothing, because ctx has ended.
	interrupted
)

// prepare maps the event in front of a queue. If the event needs no attempt, prepare settles it or
// gives it back.
func (d *Dispatcher) prepare(ctx context.Context, q *userQueue) (*mapping.Result, preparation) {
	event := d.userQueues.front(q)
	if event.Damaged {
		step := DamagedStep(d.Now())
		d.settle(q, event, &mapping.Result{}, &step, nil, 0)
		return nil, finished
	}
	if event.Superseded {
		d.settle(q, event, &mapping.Result{}, &adapter.Step{Outcome: adapter.Skipped,
			Reason: mapping.ReasonIdentifySuperseded, Detail: supersededDetail, At: d.Now()}, nil, 0)
		return nil, finished
	}
	// Today's rules decide, at the time at which the event was accepted.
	mapped := d.mapLeased(ctx, event)
	switch mapped.Kind {
	case mapping.KindUnfinished:
		if ctx.Err() != nil {
			return nil, interrupted
		}
		// The lease is about to end. The rules alone tell what kind of call the event is.
		byRules := d.mapEvent(event, mapping.Options{RulesOnly: true})
		d.giveBack(ctx, q, event, &byRules)
		return nil, finished
	case mapping.KindSkip, mapping.KindReject:
		result := resultOf(0, &mapped)
		d.settle(q, event, &mapped, &adapter.Step{Outcome: result.Outcome, Reason: result.Reason,
			Detail: result.Detail, At: d.Now()}, mapped.Warnings, 0)
		return nil, finished
	case 0:
		now := d.Now()
		attempt := adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonInternalError,
			Detail: internalErrorDetail, Unprocessed: true}
		// The panic may come from an expression. If the rules alone make the event an upsert, later events
		// of its user wait for it.
		byRules := mapOne(d.mapper, event.Payload, mapTime(event.ReceivedAt, event.Run),
			mapping.Options{RulesOnly: true}, func(any, []byte) {})
		if byRules.Kind == mapping.KindUserUpsert {
			mapped = byRules
		}
		d.settle(q, event, &mapped, d.judge(event, true, &attempt, now, now), nil, 0)
		return nil, finished
	}
	return &mapped, toBeSent
}

const supersededDetail = "a newer identify call of the user was delivered first"

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

// toSendAlone is an event that needs a call of its own.
type toSendAlone struct {
	mapped *mapping.Result
	// missing says that SaaSquatch has just said not to know the user.
	missing bool
}

// send sends the event in front of a queue when the breaker permits it. It returns false if ctx ended
// before that.
func (d *Dispatcher) send(ctx context.Context, q *userQueue, alone *toSendAlone) bool {
	event, mapped := d.userQueues.front(q), alone.mapped
	keyed := repeatable(mapped)
	for {
		if !d.awaitRecording(ctx, event) {
			return false
		}
		// Before the breaker, so that an event that is not sent uses up no token of the rate limit.
		if d.withhold(ctx, q, event, mapped, keyed) {
			return true
		}
		permit, err := d.acquire(ctx, event, 1)
		switch {
		case ctx.Err() != nil && err != nil:
			return false
		case err != nil: // the lease is about to end
			d.giveBack(ctx, q, event, mapped)
			return true
		}
		// And after it, because the wait may have been long.
		if d.recorder.overdue() {
			permit.Cancel()
			continue
		}
		if d.withhold(ctx, q, event, mapped, keyed) {
			permit.Cancel()
			return true
		}
		if !keyed && d.UnkeyedDead {
			// ctx does not cut it short, or an event could be marked that was never sent.
			switch err := d.queue.MarkSending(context.WithoutCancel(ctx), event); {
			case errors.Is(err, adapter.ErrLeaseLost):
				permit.Cancel()
				d.userQueues.recorded(event)
				d.userQueues.done(q)
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
				d.recorder.handAndWait(d.stepOf(event, putBack(now, now), nil))
				d.userQueues.done(q)
				return true
			}
		}
		began := d.Now()
		attempt := d.attempt(ctx, alone)
		permit.event = uint64(event.ID)
		permit.Done(attempt)
		d.conclude(q, event, mapped, &attempt, began)
		return true
	}
}

// conclude settles an event after an attempt, or puts it back.
func (d *Dispatcher) conclude(
	q *userQueue, event *adapter.Leased, mapped *mapping.Result, attempt *adapter.Attempt, began time.Time,
) {
	at := d.Now()
	step := d.judgeAnswer(event, mapped, attempt, began, at)
	d.settle(q, event, mapped, step, mergeWarnings(mapped.Warnings, attempt.Warnings), at.Sub(began))
}

// judgeAnswer decides how an event goes on after an attempt that was sent.
func (d *Dispatcher) judgeAnswer(
	event *adapter.Leased, mapped *mapping.Result, attempt *adapter.Attempt, began, at time.Time,
) *adapter.Step {
	if attempt.Foreign {
		// It costs the event a try only if other events get proper answers during the event's
		// horizon.
		attempt.Misconfigured = d.breaker.scope(d.Horizon) != scopeEvent
	}
	return d.judge(event, repeatable(mapped), attempt, began, at)
}

// leaseMargin is how much of a lease must be left when an attempt ends at the latest, so that it
// can be recorded.
const leaseMargin = 5 * time.Second

// withhold settles or releases an event that must not be sent now, and reports whether it did.
func (d *Dispatcher) withhold(
	ctx context.Context, q *userQueue, event *adapter.Leased, mapped *mapping.Result, keyed bool,
) bool {
	now := d.Now()
	ambiguous := !event.AmbiguousSince.IsZero()
	step := &adapter.Step{Outcome: adapter.Dead, At: now}
	switch {
	case d.leaseOver(event):
		d.giveBack(ctx, q, event, mapped)
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
	d.settle(q, event, mapped, step, mapped.Warnings, 0)
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
func (d *Dispatcher) attempt(ctx context.Context, alone *toSendAlone) (attempt adapter.Attempt) {
	defer func() {
		if cause := recover(); cause != nil {
			attempt = attemptOfPanic(alone.mapped)
			d.OnPanic(cause, debug.Stack())
		}
	}()
	ctx = context.WithoutCancel(ctx)
	if alone.missing {
		return d.bulk.SendMissing(ctx, alone.mapped)
	}
	return d.sender.Send(ctx, alone.mapped)
}

func attemptOfPanic(mapped *mapping.Result) adapter.Attempt {
	return adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonInternalError,
		Detail: internalErrorDetail, Unprocessed: mapped.Kind == mapping.KindUserUpsert}
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
		Call:    attempt.Call,
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

// settle hands over the step of the event in front of a queue, and ends the work on the event. The
// outcome is reported with the warnings once it is recorded.
func (d *Dispatcher) settle(
	q *userQueue, event *adapter.Leased, mapped *mapping.Result, step *adapter.Step,
	warnings []mapping.Warning, took time.Duration,
) {
	if mapped.Kind == mapping.KindUserUpsert && step.Outcome == adapter.Pending {
		d.putBackUpserts(pendingUpsert{q, event, step})
		return
	}
	step.EventKey = eventKeyOf(mapped)
	step.Upsert = mapped.Kind == mapping.KindUserUpsert
	key := mapped.UserEvent.IdempotencyKey
	upserted := step.Upsert && (step.Outcome == adapter.Delivered || step.Outcome == adapter.Duplicate)
	if upserted {
		d.userQueues.upserted(q)
	}
	recorded := d.stepOf(event, *step, func(recorded bool) {
		if step.Upsert {
			defer d.userQueues.done(q)
		}
		if upserted {
			d.userQueues.upsertRecorded(event)
		}
		if recorded && step.Outcome.Settled() {
			d.report(event, step, key, warnings, took)
		}
	})
	switch {
	case step.Upsert:
		// A newer upsert must not be recorded before this one, or this one could be repeated after it.
		d.recorder.hand(false, recorded)
		return
	case step.Began.IsZero() || repeatable(mapped):
		d.recorder.hand(false, recorded)
	default:
		// The attempt may not be repeated if the process dies.
		d.recorder.handAndWait(recorded)
	}
	d.userQueues.done(q)
}

// report reports an outcome.
func (d *Dispatcher) report(
	event *adapter.Leased, step *adapter.Step, key string, warnings []mapping.Warning, took time.Duration,
) {
	attempts := event.Attempts
	if step.Counted {
		attempts++
	}
	d.Record(adapter.Result{
		MessageID:      event.MessageID,
		IdempotencyKey: key,
		EventKey:       step.EventKey,
		Outcome:        step.Outcome,
		Reason:         step.Reason,
		Detail:         step.Detail,
		Warnings:       warnings,
		Attempts:       attempts,
		Status:         step.Status,
		Call:           step.Call,
		Duration:       took,
		Lag:            step.At.Sub(event.ReceivedAt),
	})
}

// pendingUpsert is an upsert to put back after an attempt.
type pendingUpsert struct {
	queue *userQueue
	event *adapter.Leased
	step  *adapter.Step
}

// putBackUpserts puts back upserts of several users, and the later events of each user as long as its
// upsert keeps them back. No later event is sent before that is recorded: the queue must know how often
// the upsert was tried before it learns that a newer one is delivered.
func (d *Dispatcher) putBackUpserts(upserts ...pendingUpsert) {
	if len(upserts) == 0 {
		return
	}
	// The events before the upserts, so that they stay behind if the process ends now.
	steps := d.takeBehind(upserts)
	for _, u := range upserts {
		u.step.EventKey, u.step.Upsert = adapter.UpsertEventKey, true
		steps = append(steps, d.stepOf(u.event, *u.step, nil))
	}
	d.recorder.handAndWait(steps...)
	// Until now the upserts were in the hand of this process. So a lease may have brought later events. There
	// can be upserts among them, which keep back nothing before they are put back. So no lease begins before
	// that.
	d.leasing <- struct{}{}
	defer func() { <-d.leasing }()
	if late := d.takeBehind(upserts); len(late) > 0 {
		d.recorder.handAndWait(late...)
	}
	for _, u := range upserts {
		d.userQueues.done(u.queue)
	}
}

// takeBehind takes out the events that upserts keep back, and returns the steps that put them back.
func (d *Dispatcher) takeBehind(upserts []pendingUpsert) (steps []handedStep) {
	for _, u := range upserts {
		if u.event.Tries+1 < adapter.MaxHoldingTries {
			steps = append(steps, d.parked(d.userQueues.takeBehind(u.queue, u.step.Due))...)
		}
	}
	return steps
}

// acquire waits for a permit, as long as the lease leaves time for an attempt.
func (d *Dispatcher) acquire(ctx context.Context, event *adapter.Leased, events int) (*Permit, error) {
	ctx, cancel := d.withinLease(ctx, event)
	defer cancel()
	return d.breaker.AcquireBulk(ctx, events)
}

// awaitRecording waits while steps are overdue to be recorded, at most until the event's lease is
// over. It returns false if ctx ended before that.
func (d *Dispatcher) awaitRecording(ctx context.Context, event *adapter.Leased) bool {
	for d.recorder.overdue() && !d.leaseOver(event) {
		if adapter.Wait(ctx, leaseRest.Base) != nil {
			return false
		}
	}
	return true
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

// giveBack releases the event in front of a queue, whose lease is about to end. An upsert takes its
// user's later events with it.
func (d *Dispatcher) giveBack(ctx context.Context, q *userQueue, event *adapter.Leased, mapped *mapping.Result) {
	defer d.userQueues.done(q)
	released := []*adapter.Leased{event}
	if mapped.Kind == mapping.KindUserUpsert {
		// No lease may bring later events between the look and the release.
		d.leasing <- struct{}{}
		defer func() { <-d.leasing }()
		for _, behind := range d.userQueues.takeBehind(q, time.Time{}) {
			released = append(released, behind.leased)
		}
	}
	for {
		err := d.queue.Release(context.WithoutCancel(ctx), released)
		if err == nil {
			break
		}
		d.trouble(fmt.Errorf("release an event: %w", err))
		// An upsert that the queue takes to be in hand keeps back nothing.
		if mapped.Kind != mapping.KindUserUpsert || !d.Now().Before(event.Until) ||
			adapter.Wait(ctx, leaseRest.Base) != nil {
			break
		}
	}
	for _, event := range released {
		d.userQueues.recorded(event)
	}
}
