package delivery

import (
	"cmp"
	"context"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Client are the single calls to SaaSquatch that a Sender makes. They are safe for
// concurrent use.
type Client interface {
	// Track makes one Track User Event call.
	Track(ctx context.Context, event *mapping.UserEvent) adapter.Attempt
	// Upsert makes one User Upsert call, which is idempotent.
	Upsert(ctx context.Context, upsert *mapping.UserUpsert) adapter.Attempt
}

// Sender is a Sender that makes of each attempt the calls it takes: the upserts of
// an identify, or those around an event whose user SaaSquatch must know first.
//
// An attempt goes through these calls from the start, until one of them decides it.
// An attempt at an event whose user could not be upserted is Unprocessed; the next
// one upserts again, which is idempotent.
//
// A user whom SaaSquatch does not know is found out by its 404 to the event, unless
// EnsureBefore says otherwise. SaaSquatch does not say whether the 404 uses up the
// event's idempotency key. If it does, the event that follows the upsert meets 409
// and is lost, though it counts as a duplicate; its reason is then
// [ReasonConflictAfterFailure]. The same barriers between two attempts.
type Sender struct {
	calls Client
	SenderOptions
	known *knownUsers
}

// SenderOptions are a Sender's choices.
type SenderOptions struct {
	// EnsureBefore upserts the missing user of an event before the event, unless the
	// user is known: one of the last 100 000 or more that this process had a call
	// succeed for. That costs a call for each user not known, and spares the event a
	// 404 that may use up its key. Default: false.
	EnsureBefore bool
	// Timeout bounds an attempt with all its calls, from start to end. A call other
	// than the first begins in its first half only, or is left to the next attempt.
	// Default: 10 s.
	Timeout time.Duration
}

// NewSender returns a Sender that makes the calls.
func NewSender(calls Client, opts SenderOptions) *Sender {
	if opts.Timeout <= 0 {
		opts.Timeout = 10 * time.Second
	}
	return &Sender{calls: calls, SenderOptions: opts, known: newKnownUsers(dedupeEvents)}
}

// Send makes one attempt.
func (c *Sender) Send(ctx context.Context, mapped *mapping.Result) adapter.Attempt {
	began := time.Now()
	ctx, cancel := context.WithDeadline(ctx, began.Add(c.Timeout))
	defer cancel()
	calls := &calls{Sender: c, ctx: ctx, half: began.Add(c.Timeout / 2)}
	var attempt adapter.Attempt
	if mapped.Kind == mapping.KindUserUpsert {
		attempt = calls.upsertAll(mapped.Upserts)
	} else {
		attempt = calls.deliver(mapped)
	}
	attempt.RefusedFields = nil
	attempt.Requests = calls.requests
	if calls.fieldsRefused {
		attempt.Warnings = append(attempt.Warnings, adapter.WarningFieldRefused)
	}
	if calls.upsertRefused {
		attempt.Warnings = append(attempt.Warnings, adapter.WarningUpsertRefused)
	}
	return attempt
}

// calls are the calls of one attempt.
type calls struct {
	*Sender
	ctx           context.Context
	half          time.Time
	requests      int
	fieldsRefused bool // and left out
	upsertRefused bool // and the event sent all the same
}

// upsertAll makes upserts in their order, up to the first that is not delivered.
func (c *calls) upsertAll(upserts []mapping.UserUpsert) (attempt adapter.Attempt) {
	for i := range upserts {
		if attempt = c.upsert(&upserts[i]); attempt.Outcome != adapter.Delivered {
			// Whatever came of it, it can be repeated.
			attempt.Unprocessed = attempt.Outcome == adapter.Pending
			return attempt
		}
	}
	return attempt
}

// deliver sends an event, with the upsert of its user where that is called for.
func (c *calls) deliver(mapped *mapping.Result) adapter.Attempt {
	event := &mapped.UserEvent
	switch mapped.Ensure {
	case mapping.EnsureAlways:
		return c.upsertThenTrack(mapped)
	case mapping.EnsureMissing:
		if c.EnsureBefore && !c.known.has(event.AccountID, event.UserID) {
			return c.upsertThenTrack(mapped)
		}
	default: // EnsureNever and results that say nothing
		return c.track(event)
	}
	first := c.track(event)
	if first.Reason != mapping.ReasonUserNotFound {
		return first
	}
	if made := c.upsertFor(mapped); made.Outcome != adapter.Delivered {
		return made
	}
	if c.late() {
		return outOfTime()
	}
	second := c.track(event)
	if second.Reason == mapping.ReasonConflict {
		second.Reason = mapping.ReasonConflictAfterFailure
	}
	return second
}

// upsertThenTrack upserts the event's user before the event. What refuses the upsert
// for good says nothing of the event: its user may exist, and an event of one that
// does not is refused in turn. But nothing is sent of users who are not to be
// tracked.
func (c *calls) upsertThenTrack(mapped *mapping.Result) adapter.Attempt {
	made := c.upsertFor(mapped)
	if made.Outcome == adapter.Pending || made.Reason == mapping.ReasonDoNotTrack {
		return made
	}
	if c.late() {
		return outOfTime()
	}
	c.upsertRefused = made.Outcome == adapter.Dead
	return c.track(&mapped.UserEvent)
}

// upsertFor upserts an event's user. What it comes to is told as of the event.
func (c *calls) upsertFor(mapped *mapping.Result) adapter.Attempt {
	if c.requests > 0 && c.late() {
		return outOfTime()
	}
	upsert, _ := mapped.UserUpsert() // the callers have looked at Ensure
	attempt := c.upsert(&upsert)
	if attempt.Outcome != adapter.Delivered {
		attempt.Detail = "the upsert of its user: " + cmp.Or(attempt.Detail, string(attempt.Reason))
		attempt.Unprocessed = attempt.Outcome == adapter.Pending
	}
	return attempt
}

// upsert makes an upsert, and makes it again without the optional fields that
// SaaSquatch refuses: twice without those it names, and at last without all that it
// could name. A user must not be missing for a locale.
func (c *calls) upsert(upsert *mapping.UserUpsert) adapter.Attempt {
	for drops := 0; ; drops++ {
		if c.requests > 0 && c.late() {
			return outOfTime()
		}
		c.requests++
		attempt := c.calls.Upsert(c.ctx, upsert)
		if attempt.Outcome == adapter.Delivered {
			c.known.add(upsert.AccountID, upsert.UserID)
		}
		if len(attempt.RefusedFields) == 0 || drops == maxDrops {
			return attempt
		}
		fields := attempt.RefusedFields
		if drops == maxDrops-1 {
			fields = optionalFields
		}
		body, dropped := dropMembers(upsert.Body, fields)
		if !dropped {
			return attempt
		}
		c.fieldsRefused = true
		upsert = &mapping.UserUpsert{UserID: upsert.UserID, AccountID: upsert.AccountID, Body: body}
	}
}

// maxDrops is how often an upsert is made again with fewer fields.
const maxDrops = 3

// optionalFields are all members of an upsert's body that SaaSquatch can refuse it
// for, by its list of errors. An attempt's RefusedFields are among them.
var optionalFields = []string{
	"cookies", "email", "firstName", "imageUrl", "locale", "referralCode", "referralCodes", "referredBy", "referredByCodes", "shareLinks",
}

// track sends the event.
func (c *calls) track(event *mapping.UserEvent) adapter.Attempt {
	c.requests++
	attempt := c.calls.Track(c.ctx, event)
	switch {
	case attempt.Outcome == adapter.Delivered:
		c.known.add(event.AccountID, event.UserID)
	case attempt.Reason == mapping.ReasonUserNotFound:
		c.known.remove(event.AccountID, event.UserID)
	}
	return attempt
}

// late reports whether it is too late to begin another call: one without enough time
// may break off, and an event must not break off for want of time.
func (c *calls) late() bool { return !time.Now().Before(c.half) }

func outOfTime() adapter.Attempt {
	return adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonTimeout, Detail: "the calls before it left no time for another", Unprocessed: true}
}
