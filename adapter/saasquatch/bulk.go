package saasquatch

import (
	"context"
	"io"
	"net/http"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// bulkKind is a mutation of GraphQL for several items.
type bulkKind struct {
	// start is the body of a request up to its first item.
	start string
	// list is the name of the list in the answer. success is the type of an item that SaaSquatch took, userID the
	// name of its id. They stand in quotes, as in JSON.
	list, success, userID string
	classify              classifier
	// idempotent: a repeated item has no further effect, whether it was processed or not.
	idempotent bool
}

// bulkEnd is the body of a request behind its last item.
const bulkEnd = "]}}"

// The types are those of the schema that SaaSquatch publishes with its documentation. The idempotencyKey of a
// UserEventInput is in SaaSquatch's later guide to idempotency.
var (
	eventKind = &bulkKind{
		start: `{"query":"mutation logUserEvents($userEventInputs: [UserEventInput!]!) { ` +
			`logUserEvents(userEventInputs: $userEventInputs) { __typename ` +
			`... on UserEventResult { userId accountId events { id } } ` +
			`... on ApiError { message statusCode rsCode } } }","variables":{"userEventInputs":[`,
		list: `"logUserEvents"`, success: `"UserEventResult"`, userID: `"userId"`,
		classify: classify,
	}
	upsertKind = &bulkKind{
		start: `{"query":"mutation upsertUsers($userInputs: [UserInput!]!) { ` +
			`upsertUsers(userInputs: $userInputs) { __typename ` +
			`... on User { id accountId } ` +
			`... on ApiError { message statusCode rsCode } } }","variables":{"userInputs":[`,
		list: `"upsertUsers"`, success: `"User"`, userID: `"id"`,
		classify: classifyUpsert, idempotent: true,
	}
)

// TrackBulk delivers events by one call of GraphQL's logUserEvents. There are 1 to [adapter.MaxBulk] events, at most
// one of a user, each with an idempotency key of its own. Each body is one JSON object, which is sent as it is.
//
// An item has the result that [Client.Track] gives for the same status and the same codes. TrackBulk settles no event
// by an answer that may be about another one. The order of SaaSquatch's list is undocumented, and an error in it names
// no user. So the list counts only if it has one result for each event, and each success names the user of the event
// at its place. An error in the list counts only beside a success, or if all results are the same error. An event
// without a result that counts is Pending and Alone, with [mapping.ReasonBulkUnclear]. SaaSquatch may have processed
// it.
//
// A failure of the whole call settles no event either. If another attempt may succeed, all items have it. If
// [Client.Track] would give up the event for it, the items are Pending and Alone.
func (c *Client) TrackBulk(ctx context.Context, events []*mapping.UserEvent) adapter.BulkAttempt {
	items := make([]item, len(events))
	for i, event := range events {
		items[i] = eventItem(event)
	}
	return c.bulk(ctx, eventKind, items)
}

// UpsertBulk makes upserts by one call of GraphQL's upsertUsers, whose documented maximum is [adapter.MaxBulk]. Each
// passes [Client.BulkableUpsert]. The rules of [Client.TrackBulk] hold, with two differences. Each pending item is
// Unprocessed, since upserts are idempotent. An item that SaaSquatch refuses for an optional field is Pending and
// Alone, since only a single upsert is repeated without the field. Its RefusedFields name the fields.
func (c *Client) UpsertBulk(ctx context.Context, upserts []*mapping.UserUpsert) adapter.BulkAttempt {
	items := make([]item, len(upserts))
	for i, upsert := range upserts {
		items[i] = upsertItem(upsert)
	}
	return c.bulk(ctx, upsertKind, items)
}

// bulk makes one call for the items.
func (c *Client) bulk(ctx context.Context, kind *bulkKind, items []item) adapter.BulkAttempt {
	ctx, cancel := c.within(ctx)
	defer cancel()
	call := &bulkCall{kind: kind, items: items, private: mask{items: items, secrets: c.secrets}}
	target := escapedURL(c.scheme, c.host, c.graphQL)
	answer, failed := c.send(ctx, http.MethodPost, target, newBulkBody(kind, items))
	if answer == nil {
		return call.failed(failed)
	}
	defer answer.Body.Close()
	read := readBulk(answer.StatusCode, answer.Body, kind, items)
	call.status, call.body = answer.StatusCode, read.body
	call.keepHeader(answer)
	return call.conclude(read)
}

// bulkBody is the body of a request for several items. It does not copy the items.
type bulkBody struct {
	kind   *bulkKind
	items  []item
	length int64
}

func newBulkBody(kind *bulkKind, items []item) *bulkBody {
	length := len(kind.start) + len(bulkEnd) + max(0, len(items)-1)
	for i := range items {
		length += len(items[i].body)
	}
	return &bulkBody{kind, items, int64(length)}
}

func (b *bulkBody) size() int64       { return b.length }
func (b *bulkBody) reader() io.Reader { return &bulkBodyReader{bulkBody: b, rest: b.kind.start} }

// bulkBodyReader reads a bulkBody, piece by piece.
type bulkBodyReader struct {
	*bulkBody
	rest  string // of the text between two items
	next  int    // item behind rest
	inner []byte // rest of an item
	ended bool
}

func (r *bulkBodyReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		switch {
		case len(r.rest) > 0:
			read := copy(p[n:], r.rest)
			r.rest, n = r.rest[read:], n+read
		case len(r.inner) > 0:
			read := copy(p[n:], r.inner)
			r.inner, n = r.inner[read:], n+read
			if len(r.inner) == 0 && r.next < len(r.items) {
				r.rest = ","
			}
		case r.next < len(r.items):
			r.inner = r.items[r.next].body
			r.next++
		case !r.ended:
			r.rest, r.ended = bulkEnd, true
		case n > 0:
			return n, nil
		default:
			return 0, io.EOF
		}
	}
	return n, nil
}
