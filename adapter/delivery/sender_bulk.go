package delivery

import (
	"context"
	"slices"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Bulkable reports whether SendBulk takes what was mapped; see [adapter.BulkSender].
func (c *Sender) Bulkable(mapped *mapping.Result) bool {
	if mapped.Kind == mapping.KindUserUpsert {
		return len(mapped.Upserts) == 1 && c.calls.BulkableUpsert(&mapped.Upserts[0])
	}
	if mapped.UserEvent.IdempotencyKey == "" {
		return false
	}
	if !c.upsertsFirst(mapped) {
		return true
	}
	upsert, ok := mapped.UserUpsert()
	return ok && c.calls.BulkableUpsert(&upsert)
}

// upsertsFirst reports whether the user of an event is upserted before the event.
func (c *Sender) upsertsFirst(mapped *mapping.Result) bool {
	switch mapped.Ensure {
	case mapping.EnsureAlways:
		return true
	case mapping.EnsureMissing:
		return c.EnsureBefore && !c.known.has(mapped.UserEvent.AccountID, mapped.UserEvent.UserID)
	default:
		return false
	}
}

// BulkSize returns how many items SendBulk should be given; see [adapter.BulkSender].
func (c *Sender) BulkSize() int { return c.bulkSize.now() }

// SendBulk makes one attempt at several events or upserts; see [adapter.BulkSender]. The upserts of
// users that come before their events are a call of their own. An event leaves the call if the upsert
// of its user fails.
//
// If SaaSquatch refuses a call as a whole, SendBulk makes a call for each half, down to single items,
// as long as it is in the first half of its time. An item that is refused by itself is left to a
// single call.
func (c *Sender) SendBulk(ctx context.Context, mapped []*mapping.Result) adapter.BulkAttempt {
	calls, cancel := c.begin(ctx)
	defer cancel()
	bulk := &bulkCalls{
		calls: calls, mapped: mapped, items: make([]adapter.Attempt, len(mapped)), refused: make([]bool, len(mapped)),
	}
	if mapped[0].Kind == mapping.KindUserUpsert {
		all := bulk.where(func(*mapping.Result) bool { return true })
		bulk.upsert(all, func(i int) mapping.UserUpsert { return mapped[i].Upserts[0] })
	} else {
		bulk.track(bulk.ensureUsers())
	}
	for i := range bulk.items {
		item := &bulk.items[i]
		item.RefusedFields, item.Requests = nil, bulk.requests
		if bulk.refused[i] {
			item.Warnings = append(item.Warnings, adapter.WarningUpsertRefused)
		}
	}
	bulk.call.Requests = bulk.requests
	return adapter.BulkAttempt{Call: bulk.call, Items: bulk.items}
}

// bulkCalls are the calls of one attempt at several items. Items are named by their index.
type bulkCalls struct {
	*calls
	mapped  []*mapping.Result
	items   []adapter.Attempt
	refused []bool // the upsert of the event's user was refused, and the event is sent in spite of it
	call    adapter.Attempt
	called  bool
	// undivided says that SaaSquatch did not refuse a call for the present items as a whole, and
	// refusedSingles counts the calls for one of them that it refused.
	undivided      bool
	refusedSingles int
}

// where returns the items that meet a condition.
func (b *bulkCalls) where(meets func(*mapping.Result) bool) (indexes []int) {
	for i, mapped := range b.mapped {
		if meets(mapped) {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// ensureUsers upserts the users of the events that need it, and returns the events to send.
func (b *bulkCalls) ensureUsers() (events []int) {
	first := b.where(b.upsertsFirst)
	b.upsert(first, func(i int) mapping.UserUpsert {
		upsert, _ := b.mapped[i].UserUpsert() // upsertsFirst has checked Ensure
		return upsert
	})
	for i := range b.mapped {
		if len(first) == 0 || first[0] != i {
			events = append(events, i)
			continue
		}
		first = first[1:]
		made := &b.items[i]
		switch {
		case made.Outcome == adapter.Pending || made.Reason == mapping.ReasonDoNotTrack:
			ofUpsert(made)
			continue
		case b.late():
			*made = outOfTime()
			continue
		}
		b.refused[i] = made.Outcome == adapter.Dead
		events = append(events, i)
	}
	return events
}

// upsert makes the upserts of items by as few calls as SaaSquatch takes.
func (b *bulkCalls) upsert(items []int, of func(i int) mapping.UserUpsert) {
	upserts := make([]mapping.UserUpsert, len(b.mapped))
	items = slices.DeleteFunc(slices.Clone(items), func(i int) bool {
		upserts[i] = of(i)
		if b.calls.calls.BulkableUpsert(&upserts[i]) {
			return false
		}
		// Its user was known when Bulkable was asked, and is not any more.
		b.items[i] = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonBulkUnclear,
			Detail: "the upsert of its user needs a call of its own", Unprocessed: true, Alone: true}
		return true
	})
	if len(items) == 0 {
		return
	}
	b.undivided, b.refusedSingles = false, 0
	b.divide(adapter.CallUpsertBulk, items, func(items []int) adapter.BulkAttempt {
		list := make([]*mapping.UserUpsert, len(items))
		for at, i := range items {
			list[at] = &upserts[i]
		}
		return b.calls.calls.UpsertBulk(b.ctx, list)
	})
	for _, i := range items {
		if b.items[i].Outcome == adapter.Delivered {
			b.known.add(upserts[i].AccountID, upserts[i].UserID)
		}
		// Whatever its result, it can be repeated.
		b.items[i].Unprocessed = b.items[i].Outcome == adapter.Pending
	}
}

// track sends events by as few calls as SaaSquatch takes. An event whose user is missing is left to
// SendMissing.
func (b *bulkCalls) track(items []int) {
	if len(items) == 0 {
		return
	}
	if b.requests > 0 && b.late() {
		for _, i := range items {
			b.items[i] = outOfTime()
		}
		return
	}
	b.called = false // the events decide what the call says about the tenant
	b.undivided, b.refusedSingles = false, 0
	b.divide(adapter.CallTrackBulk, items, func(items []int) adapter.BulkAttempt {
		list := make([]*mapping.UserEvent, len(items))
		for at, i := range items {
			list[at] = &b.mapped[i].UserEvent
		}
		return b.calls.calls.TrackBulk(b.ctx, list)
	})
	for _, i := range items {
		event, item := &b.mapped[i].UserEvent, &b.items[i]
		switch {
		case item.Outcome == adapter.Delivered:
			b.known.add(event.AccountID, event.UserID)
		case item.Reason == mapping.ReasonUserNotFound:
			b.known.remove(event.AccountID, event.UserID)
			if b.mapped[i].Ensure == mapping.EnsureMissing {
				item.Outcome, item.Unprocessed, item.Alone = adapter.Pending, true, true
			}
		}
	}
}

// divide makes a call for the items, or for each half of them if SaaSquatch refuses the call as a
// whole. It reports whether SaaSquatch took the call as it was.
func (b *bulkCalls) divide(
	kind adapter.Call, items []int, call func(items []int) adapter.BulkAttempt,
) (passed bool) {
	b.requests++
	bulk := call(items)
	bulk.Call.Call = kind
	for at, i := range items {
		b.items[i] = bulk.Items[at]
		b.items[i].Call = kind
	}
	// A call that says that the tenant works counts more than one that does not.
	if !b.called || bulk.Call.Outcome.Settled() && !b.call.Outcome.Settled() {
		b.call, b.called = bulk.Call, true
	}
	if !bulk.Divisible {
		b.undivided = true
		if bulk.Call.Outcome.Settled() {
			b.bulkSize.passed(len(items))
		}
		return bulk.Call.Outcome.Settled()
	}
	if len(items) == 1 {
		b.refusedSingles++
		return false
	}
	passed = true
	for _, half := range [][]int{items[:(len(items)+1)/2], items[(len(items)+1)/2:]} {
		// The items of a half without a call keep the result of the whole, and go alone.
		passed = !b.late() && !b.hopeless() && b.divide(kind, half, call) && passed
	}
	if passed {
		b.bulkSize.halved(len(items))
	}
	return false
}

// hopeless reports whether SaaSquatch seems to refuse every bulk call, whatever its size and items.
func (b *bulkCalls) hopeless() bool { return !b.undivided && b.refusedSingles > 1 }
