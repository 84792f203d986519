package delivery

import (
	"cmp"
	"context"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Client makes calls to SaaSquatch. It is safe for concurrent use.
type Client interface {
	// Track makes one Track User Event call.
	Track(ctx context.Context, event *mapping.UserEvent) adapter.Attempt
	// Upsert makes one User Upsert call, which is idempotent.
	Upsert(ctx context.Context, upsert *mapping.UserUpsert) adapter.Attempt
	// TrackBulk makes one call for several events, one of each user, each with an idempotency key.
	TrackBulk(ctx context.Context, events []*mapping.UserEvent) adapter.BulkAttempt
	// UpsertBulk makes one call for several upserts, one of each user, for which BulkableUpsert holds.
	UpsertBulk(ctx context.Context, upserts []*mapping.UserUpsert) adapter.BulkAttempt
	// BulkableUpsert reports whether UpsertBulk takes the upsert.
	BulkableUpsert(upsert *mapping.UserUpsert) bool
}

// Sender makes attempts by the calls that they need: the upserts of an identify, or an event with
// the upsert of its user if SaaSquatch must know the user first. It is an [adapter.Sender].
//
// An attempt makes these calls from the start, until one of them decides it. If the user of an
// event could not be upserted, the attempt is Unprocessed. The next attempt upserts again, which is
// idempotent.
//
// SaaSquatch answers 404 to the event of an unknown user, and the Sender then upserts the user,
// unless EnsureBefore says otherwise. SaaSquatch does not say whether the 404 uses up the event's
// idempotency key. If it does, the event that follows the upsert meets 409 and is lost, though it
// counts as a duplicate. Its reason is then [mapping.ReasonConflictAfterFailure]. The same holds
// between two attempts.
type Sender struct {
	calls Client
	SenderOptions
	known    *knownUsers
	bulkSize bulkSize
}

var _ adapter.BulkSender = (*Sender)(nil)

// SenderOptions are a Sender's choices.
type SenderOptions struct {
	// EnsureBefore upserts the missing user of an event before the event, unless the user is known:
	// this process remembers at least the last 100 000 users of successful calls. That costs a call
	// for each unknown user. It spares the event a 404 that may use up its key. Default: false.
	EnsureBefore bool
	// Timeout bounds an attempt with all its calls. A call other than the first begins in the first
	// half only, or is left to the next attempt. Default: 10 s.
	Timeout time.Duration
}

// NewSender returns a Sender that calls SaaSquatch through client.
func NewSender(calls Client, opts SenderOptions) *Sender {
	if opts.Timeout <= 0 {
		opts.Timeout = 10 * time.Second
	}
	return &Sender{calls: calls, SenderOptions: opts, known: newKnownUsers(dedupeEvents), bulkSize: newBulkSize()}
}

// Send makes one attempt.
func (c *Sender) Send(ctx context.Context, mapped *mapping.Result) adapter.Attempt {
	calls, cancel := c.begin(ctx)
	defer cancel()
	if mapped.Kind == mapping.KindUserUpsert {
		return calls.end(calls.upsertAll(mapped.Upserts))
	}
	return calls.end(calls.deliver(mapped))
}

// SendMissing makes one attempt at an event whose user SaaSquatch has just said not to know.
func (c *Sender) SendMissing(ctx context.Context, mapped *mapping.Result) adapter.Attempt {
	calls, cancel := c.begin(ctx)
	defer cancel()
	return calls.end(calls.deliverMissing(mapped))
}

// begin begins an attempt.
func (c *Sender) begin(ctx context.Context) (*calls, context.CancelFunc) {
	began := time.Now()
	ctx, cancel := context.WithDeadline(ctx, began.Add(c.Timeout))
	return &calls{Sender: c, ctx: ctx, half: began.Add(c.Timeout / 2)}, cancel
}

// end completes an attempt that its last call has decided.
func (c *calls) end(attempt adapter.Attempt) adapter.Attempt {
	attempt.RefusedFields = nil
	attempt.Requests = c.requests
	if c.fieldsRefused {
		attempt.Warnings = append(attempt.Warnings, adapter.WarningFieldRefused)
	}
	if c.upsertRefused {
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
	upsertRefused bool // and the event sent in spite of it
}

// upsertAll makes upserts in their order, up to the first that is not delivered.
func (c *calls) upsertAll(upserts []mapping.UserUpsert) (attempt adapter.Attempt) {
	for i := range upserts {
		if attempt = c.upsert(&upserts[i]); attempt.Outcome != adapter.Delivered {
			// Whatever its result, it can be repeated.
			attempt.Unprocessed = attempt.Outcome == adapter.Pending
			return attempt
		}
	}
	return attempt
}

// deliver sends an event, with the upsert of its user if the event needs it.
func (c *calls) deliver(mapped *mapping.Result) adapter.Attempt {
	event := &mapped.UserEvent
	switch mapped.Ensure {
	case mapping.EnsureAlways:
		return c.upsertThenTrack(mapped)
	case mapping.EnsureMissing:
		if c.EnsureBefore && !c.known.has(event.AccountID, event.UserID) {
			return c.upsertThenTrack(mapped)
		}
	default: // EnsureNever, and results without an Ensure
		return c.track(event)
	}
	first := c.track(event)
	if first.Reason != mapping.ReasonUserNotFound {
		return first
	}
	return c.deliverMissing(mapped)
}

// deliverMissing upserts the user of an event that was refused because the user is missing, and sends
// the event again.
func (c *calls) deliverMissing(mapped *mapping.Result) adapter.Attempt {
	if made := c.upsertFor(mapped); made.Outcome != adapter.Delivered {
		return made
	}
	if c.late() {
		return outOfTime()
	}
	second := c.track(&mapped.UserEvent)
	if second.Reason == mapping.ReasonConflict {
		second.Reason = mapping.ReasonConflictAfterFailure
	}
	return second
}

// upsertThenTrack upserts the event's user before the event. A refused upsert says nothing about
// the event: the user may exist, and SaaSquatch refuses the event of a user that does not. But no
// event is sent for a user who must not be tracked.
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

// upsertFor upserts an event's user, and returns the result as one of the event.
func (c *calls) upsertFor(mapped *mapping.Result) adapter.Attempt {
	if c.requests > 0 && c.late() {
		return outOfTime()
	}
	upsert, _ := mapped.UserUpsert() // the callers have checked Ensure
	attempt := c.upsert(&upsert)
	if attempt.Outcome != adapter.Delivered {
		ofUpsert(&attempt)
	}
	return attempt
}

// ofUpsert turns the result of the upsert of an event's user into one of the event.
func ofUpsert(attempt *adapter.Attempt) {
	attempt.Detail = "the upsert of its user: " + cmp.Or(attempt.Detail, string(attempt.Reason))
	attempt.Unprocessed = attempt.Outcome == adapter.Pending
}

// upsert makes an upsert. If SaaSquatch refuses optional fields, it repeats the upsert without
// them: twice without the fields that SaaSquatch names, at last without all optional fields. A user
// must not be missing for a locale.
func (c *calls) upsert(upsert *mapping.UserUpsert) adapter.Attempt {
	for drops := 0; ; drops++ {
		if c.requests > 0 && c.late() {
			return outOfTime()
		}
		c.requests++
		attempt := c.calls.Upsert(c.ctx, upsert)
		attempt.Call = adapter.CallUpsert
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

// maxDrops is how often an upsert is repeated with fewer fields.
const maxDrops = 3

// optionalFields are all members of an upsert's body for which SaaSquatch can refuse it, by its
// list of errors. They include all RefusedFields of an attempt.
var optionalFields = []string{
	"cookies", "email", "firstName", "imageUrl", "locale", "referralCode", "referralCodes", "referredBy",
	"referredByCodes", "shareLinks",
}

// track sends the event.
func (c *calls) track(event *mapping.UserEvent) adapter.Attempt {
	c.requests++
	attempt := c.calls.Track(c.ctx, event)
	attempt.Call = adapter.CallTrack
	switch {
	case attempt.Outcome == adapter.Delivered:
		c.known.add(event.AccountID, event.UserID)
	case attempt.Reason == mapping.ReasonUserNotFound:
		c.known.remove(event.AccountID, event.UserID)
	}
	return attempt
}

// late reports whether it is too late to begin another call. A call without enough time may break
// off, and an event must not break off for that.
func (c *calls) late() bool { return !time.Now().Before(c.half) }

func outOfTime() adapter.Attempt {
	return adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonTimeout,
		Detail: "the calls before it left no time for another", Unprocessed: true}
}
