package delivery

import (
	"context"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// outgoing is an event for a bulk call.
type outgoing struct {
	queue  *userQueue
	event  *adapter.Leased
	mapped *mapping.Result
}

// aloneAfter is how many failed attempts an event has had that goes by itself from then on. It may be
// what fails the calls, and must not keep others from being delivered.
const aloneAfter = 3

// deliverAll makes attempts at the events in front of several users' queues: a bulk call for events,
// and one for upserts. Events that need a call of their own are offered to the workers again. It
// returns false if ctx ended before that.
func (d *Dispatcher) deliverAll(ctx context.Context, queues []*userQueue) bool {
	var events, upserts []outgoing
	users := make(map[user]bool, len(queues))
	for _, q := range queues {
		mapped, state := d.prepare(ctx, q)
		switch {
		case state == interrupted:
			return false
		case state == finished:
			continue
		}
		out := outgoing{q, d.userQueues.front(q), mapped}
		switch {
		case out.event.Alone || out.event.Failed >= aloneAfter || users[userOf(mapped)] || !d.bulk.Bulkable(mapped):
			// Rules that have changed since the acceptance can give two queues the same user.
			d.userQueues.setAlone(q, &toSendAlone{mapped: mapped})
			continue
		case mapped.Kind == mapping.KindUserUpsert:
			upserts = append(upserts, out)
		default:
			events = append(events, out)
		}
		users[userOf(mapped)] = true
	}
	if len(events) == 0 || len(upserts) == 0 {
		return d.sendAll(ctx, append(events, upserts...))
	}
	// Side by side, or the one kind would wait for the answer of the other.
	var others sync.WaitGroup
	var sent bool
	others.Go(func() { sent = d.sendAll(ctx, upserts) })
	sentEvents := d.sendAll(ctx, events)
	others.Wait()
	return sent && sentEvents
}

// sendAll sends events by one call when the breaker permits it. It returns false if ctx ended before
// that.
func (d *Dispatcher) sendAll(ctx context.Context, events []outgoing) bool {
	for {
		switch len(events) {
		case 0:
			return true
		case 1:
			return d.send(ctx, events[0].queue, &toSendAlone{mapped: events[0].mapped})
		}
		// The lease that ends first decides.
		first := slices.MinFunc(events, func(a, b outgoing) int { return compareEnds(a.event, b.event) }).event
		if !d.awaitRecording(ctx, first) {
			return false
		}
		if events = d.withholdAll(ctx, events); len(events) < 2 {
			continue
		}
		permit, err := d.acquire(ctx, first, len(events))
		switch {
		case ctx.Err() != nil && err != nil:
			return false
		case err != nil: // the lease is about to end
			events = slices.DeleteFunc(events, func(out outgoing) bool {
				if out.event == first {
					d.giveBack(ctx, out.queue, out.event, out.mapped)
				}
				return out.event == first
			})
			continue
		}
		if d.recorder.overdue() {
			permit.Cancel()
			continue
		}
		if events = d.withholdAll(ctx, events); len(events) < 2 {
			permit.Cancel()
			continue
		}
		began := d.Now()
		bulk := d.attemptAll(ctx, events)
		permit.event = uint64(events[0].event.ID)
		permit.Done(bulk.Call)
		d.concludeAll(events, bulk.Items, began)
		return true
	}
}

// concludeAll settles events after a bulk call, puts them back, or offers them again for a call of
// their own. Upserts are put back last and together: that waits for the queue, and the outcomes of
// the others must not.
func (d *Dispatcher) concludeAll(events []outgoing, attempts []adapter.Attempt, began time.Time) {
	at := d.Now()
	var upserts []pendingUpsert
	for i, out := range events {
		attempt := &attempts[i]
		if attempt.Alone && attempt.Unprocessed && !attempt.Foreign && !attempt.Misconfigured {
			d.userQueues.setAlone(out.queue, &toSendAlone{
				mapped: out.mapped, missing: attempt.Reason == mapping.ReasonUserNotFound,
			})
			continue
		}
		step := d.judgeAnswer(out.event, out.mapped, attempt, began, at)
		if out.mapped.Kind == mapping.KindUserUpsert && step.Outcome == adapter.Pending {
			upserts = append(upserts, pendingUpsert{out.queue, out.event, step})
			continue
		}
		d.settle(out.queue, out.event, out.mapped, step, mergeWarnings(out.mapped.Warnings, attempt.Warnings),
			at.Sub(began))
	}
	d.putBackUpserts(upserts...)
}

// compareEnds compares the ends of leases. A lease that ends with the process is last.
func compareEnds(a, b *adapter.Leased) int {
	switch {
	case a.Until.IsZero() && b.Until.IsZero():
		return 0
	case a.Until.IsZero():
		return 1
	case b.Until.IsZero():
		return -1
	}
	return a.Until.Compare(b.Until)
}

// withholdAll settles or releases events that must not be sent now, and returns the others.
func (d *Dispatcher) withholdAll(ctx context.Context, events []outgoing) []outgoing {
	return slices.DeleteFunc(events, func(out outgoing) bool {
		return d.withhold(ctx, out.queue, out.event, out.mapped, true)
	})
}

// attemptAll makes one attempt at several events; see attempt.
func (d *Dispatcher) attemptAll(ctx context.Context, events []outgoing) (bulk adapter.BulkAttempt) {
	mapped := make([]*mapping.Result, len(events))
	for i := range events {
		mapped[i] = events[i].mapped
	}
	defer func() {
		if cause := recover(); cause != nil {
			failed := attemptOfPanic(mapped[0])
			// One of the events may be the cause. The others need not meet it again.
			failed.Reason, failed.Alone = mapping.ReasonBulkUnclear, true
			bulk = adapter.BulkAttempt{Call: failed, Items: slices.Repeat([]adapter.Attempt{failed}, len(events))}
			d.OnPanic(cause, debug.Stack())
		}
	}()
	return d.bulk.SendBulk(context.WithoutCancel(ctx), mapped)
}
