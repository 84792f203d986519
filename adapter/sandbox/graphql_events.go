package sandbox

import (
	"cmp"
	"context"
	"slices"

	"github.com/graph-gophers/graphql-go"
)

// eventInput is the input UserEventInput.
type eventInput struct {
	UserID         string
	AccountID      string
	IdempotencyKey *string
	Events         *[]eventDataInput
}

type eventDataInput struct {
	ID            *graphql.ID // ignored
	Key           string
	Fields        *scalarJSON
	DateTriggered *dateInput
}

// body returns the input as the body of a Track User Event call, in memory of its own. Assumed: null is the same as no
// value.
func (in *eventInput) body() ([]byte, *apiError) {
	size := len(in.UserID) + len(in.AccountID) + 128
	var events []eventDataInput
	if in.Events != nil {
		events = *in.Events
	}
	fields := make([][]byte, len(events))
	for i := range events {
		if events[i].Fields == nil || events[i].Fields.value == nil {
			continue
		}
		var err error
		if fields[i], err = events[i].Fields.MarshalJSON(); err != nil {
			return nil, badRequest("/events/%d/fields cannot be written as JSON.", i)
		}
		size += len(fields[i]) + len(events[i].Key) + 64
	}
	out := append(make([]byte, 0, size), `{"userId":`...)
	out = appendString(out, in.UserID)
	out = append(out, `,"accountId":`...)
	out = appendString(out, in.AccountID)
	if in.IdempotencyKey != nil {
		out = append(out, `,"idempotencyKey":`...)
		out = appendString(out, *in.IdempotencyKey)
	}
	if in.Events == nil {
		return append(out, '}'), nil
	}
	out = append(out, `,"events":[`...)
	for i := range events {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"key":`...)
		out = appendString(out, events[i].Key)
		if fields[i] != nil {
			out = append(out, `,"fields":`...)
			out = append(out, fields[i]...)
		}
		if date := events[i].DateTriggered; date != nil {
			out = append(out, `,"dateTriggered":`...)
			out = date.append(out)
		}
		out = append(out, '}')
	}
	return append(out, "]}"...), nil
}

// logEvent is a Track User Event call with the input as its body.
func (c *graphQLCall) logEvent(in *eventInput, lost bool) (*eventResult, *apiError) {
	body, apiErr := in.body()
	if apiErr != nil {
		return nil, apiErr
	}
	scratch := scratches.Get().(*scratch)
	defer scratch.free()
	ref := userRef{in.AccountID, in.UserID}
	got, apiErr := c.server.track(c.tenant, scratch, ref, body, lost)
	if apiErr != nil {
		return nil, apiErr
	}
	return c.eventResult(ref, got), nil
}

// LogUserEvent answers an error of the call, unlike LogUserEvents.
func (*resolver) LogUserEvent(ctx context.Context, args struct{ UserEventInput eventInput }) (*eventResult, error) {
	call := callOf(ctx)
	result, apiErr := call.logEvent(&args.UserEventInput, call.lost)
	if apiErr != nil {
		return nil, graphQLError{apiErr}
	}
	return result, nil
}

// LogUserEvents answers each input at its place, with a result or an error. Assumed: it has the limit of upsertUsers,
// and takes several inputs of one user.
func (*resolver) LogUserEvents(ctx context.Context, args struct{ UserEventInputs []eventInput }) (
	[]*eventOrError, error,
) {
	call := callOf(ctx)
	if err := call.checkBulk(len(args.UserEventInputs)); err != nil {
		return nil, err
	}
	results := make([]*eventOrError, len(args.UserEventInputs))
	for i := range args.UserEventInputs {
		var result *eventResult
		apiErr := call.item(func(lost bool) (apiErr *apiError) {
			result, apiErr = call.logEvent(&args.UserEventInputs[i], lost)
			return apiErr
		})
		results[i] = &eventOrError{result, apiErr}
	}
	return results, nil
}

// PreviewUserEvent has no effect: it is a query. Assumed: it refuses what LogUserEvent refuses.
func (*resolver) PreviewUserEvent(ctx context.Context, args struct{ UserEventInput eventInput }) (
	*eventResult, error,
) {
	call, in := callOf(ctx), &args.UserEventInput
	body, apiErr := in.body()
	if apiErr != nil {
		return nil, graphQLError{apiErr}
	}
	scratch := scratches.Get().(*scratch)
	defer scratch.free()
	ref := userRef{in.AccountID, in.UserID}
	got, apiErr := call.server.preview(call.tenant, scratch, ref, body)
	if apiErr != nil {
		return nil, graphQLError{apiErr}
	}
	return call.eventResult(ref, got), nil
}

// eventOrError is the union BulkUserEventResult.
type eventOrError struct {
	result *eventResult
	apiErr *apiError
}

// ToUserEventResult and ToApiError implement the library's form of a union.
func (u *eventOrError) ToUserEventResult() (*eventResult, bool) { return u.result, u.apiErr == nil }

func (u *eventOrError) ToApiError() (*itemError, bool) {
	return (*itemError)(u.apiErr), u.apiErr != nil
}

// itemError is the type ApiError, the error of one input. It has no apiErrorCode.
type itemError apiError

func (e *itemError) Message() string { return e.message }

// StatusCode is what the same call by REST answers.
func (e *itemError) StatusCode() int32 { return int32(e.status) }

// RSCode is null if SaaSquatch publishes none. Assumed: that of a used key.
func (e *itemError) RSCode() *string {
	code := e.rsCode
	if (*apiError)(e) == errConflict {
		code = e.apiErrorCode
	}
	if code == "" {
		return nil
	}
	return &code
}

// eventResult is the type UserEventResult. Its methods take no context, so the library calls them one after another.
type eventResult struct {
	call   *graphQLCall
	ref    userRef
	events []*eventData
}

func (c *graphQLCall) eventResult(ref userRef, got tracked) *eventResult {
	result := &eventResult{c, ref, make([]*eventData, len(got.events))}
	// The events are valid until the scratch is freed.
	for i, event := range slices.Clone(got.events) {
		result.events[i] = &eventData{ref, event, got.first + uint64(i), got.received}
	}
	return result
}

func (r *eventResult) UserID() string { return r.ref.userID }

func (r *eventResult) AccountID() string { return r.ref.accountID }

// User is null for a user that does not exist, which [AnyUser] allows.
func (r *eventResult) User() *userResult { return r.call.user(r.ref) }

func (r *eventResult) Events() []*eventData { return r.events }

// ProgramTransactions are always empty, because the sandbox has no programs.
func (r *eventResult) ProgramTransactions() *[]*programTransaction { return &[]*programTransaction{} }

type programTransaction struct{}

func (*programTransaction) ID() graphql.ID { return "" }

// eventData is the type UserEventData.
type eventData struct {
	ref      userRef
	event    parsedEvent
	seq      uint64
	received int64
}

// ID is the event's id, as a Track User Event call answers it.
func (e *eventData) ID() graphql.ID { return graphql.ID(appendEventID(nil, e.received, e.seq)) }

func (e *eventData) UserID() string { return e.ref.userID }

func (e *eventData) AccountID() string { return e.ref.accountID }

func (e *eventData) Key() string { return e.event.key }

func (e *eventData) Fields() *scalarJSON { return rawJSON(e.event.fieldsJSON()) }

func (e *eventData) DateTriggered() *scalarDate { return dateOf(e.event.triggeredAt(e.received)) }

func (e *eventData) DateReceived() *scalarDate { return dateOf(e.received) }

// DateProcessed is the time of receipt as well, because the sandbox processes an event within the call.
func (e *eventData) DateProcessed() *scalarDate { return dateOf(e.received) }

func dateOf(ms int64) *scalarDate {
	date := scalarDate(ms)
	return &date
}

// checkBulk refuses a call with too many inputs as a whole.
func (c *graphQLCall) checkBulk(inputs int) error {
	c.server.counts.Load().bulkCalls.Add(1)
	if inputs > c.server.bulkLimit {
		return graphQLError{badRequest("A call takes at most %d inputs, and this one has %d.", c.server.bulkLimit,
			inputs)}
	}
	return nil
}

// item processes one input of a bulk call. If faults strike inputs, it injects the input's own fault.
func (c *graphQLCall) item(process func(lost bool) *apiError) *apiError {
	fault := c.server.injector.drawItem()
	c.server.counts.Load().injected(fault)
	lost := c.lost || fault.kind != noFault && !fault.after
	apiErr := process(lost)
	if fault.kind != noFault {
		return fault.rule.apiError()
	}
	if lost {
		return cmp.Or(apiErr, errLost.apiErr)
	}
	return apiErr
}
