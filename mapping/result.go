package mapping

import "github.com/go-json-experiment/json/jsontext"

// Kind tells what the mapping made of an event. The zero value is no kind.
type Kind uint8

const (
	// KindUserEvent: Result.UserEvent holds a body to send.
	KindUserEvent Kind = iota + 1
	// KindSkip: a valid Segment call that has nothing to send; never an error.
	KindSkip
	// KindReject: the event can never be sent.
	KindReject
	// KindUserUpsert: Result.Upserts holds bodies to send, in their order.
	KindUserUpsert
	// KindUnfinished: the mapping was ended by [Options.Done] and says nothing of the
	// event.
	KindUnfinished
)

// Result is what the mapping made of one event: exactly one of a user event, user
// upserts, a skip and a reject, as Kind says; none of them if the mapping was ended.
type Result struct {
	Kind Kind
	// MessageID is Segment's messageId as it stands, or the literal text of a number;
	// empty if the event has none or is not JSON.
	MessageID string
	// Identity tells an event whose MessageID is no idempotency key from others of
	// the same MessageID. It is a hash of the envelope alone, so that neither the
	// rules nor a later version change it. 0 where MessageID is a key, which tells the
	// event from others by itself, and where there is no MessageID. A result with
	// nothing to send may have none.
	Identity int64
	// Event is Segment's name of the event as it stands, empty if the call has none.
	Event string
	// UserEvent is set if Kind is KindUserEvent.
	UserEvent UserEvent
	// Upserts are set if Kind is KindUserUpsert, at least one, to be sent in their
	// order: all but the first have nothing but further custom fields. Of a
	// KindUserEvent there is one if the rules have an expression for it, else none:
	// ask [Result.UserUpsert] for the upsert that creates the event's user.
	Upserts []UserUpsert
	// Ensure says when the user of a KindUserEvent is upserted; else it is zero.
	Ensure Ensure
	// Reason is set if Kind is KindSkip or KindReject.
	Reason Reason
	// Detail explains Reason to a person, in at most a few hundred bytes. It quotes
	// no values of the event but its type.
	Detail string
	// Warnings are in alphabetical order, each at most once; nil if there are none.
	Warnings []Warning
}

// Keyed reports whether MessageID is an idempotency key (M16).
func (r *Result) Keyed() bool { return r.Identity == 0 && IsIdempotencyKey(r.MessageID) }

// UserEvent is one event for SaaSquatch's Track User Event call.
type UserEvent struct {
	// UserID and AccountID stand in the call's path, and in Body.
	UserID, AccountID string
	// Key is SaaSquatch's name of the event, such as "purchase".
	Key string
	// IdempotencyKey is the event's messageId if that is a valid key, else empty.
	IdempotencyKey string
	// DateTriggered is when the event happened, in milliseconds since the epoch,
	// if Timed says that this is known.
	DateTriggered int64
	Timed         bool
	// Body is the request body, compact JSON in UTF-8.
	Body []byte
	// eventAt is where the one element of the events member begins in Body, 0 if
	// that is not known.
	eventAt int
}

// UserUpsert is one body for SaaSquatch's User Upsert call.
type UserUpsert struct {
	// UserID and AccountID stand in the call's path, and in Body.
	UserID, AccountID string
	// Body is the request body, compact JSON in UTF-8.
	Body []byte
}

func skip(reason Reason, detail string) Result {
	return Result{Kind: KindSkip, Reason: reason, Detail: detail}
}

func reject(reason Reason, detail string) Result {
	return Result{Kind: KindReject, Reason: reason, Detail: detail}
}

// skipped and rejected are skip and reject for functions that seldom refuse.

func skipped(reason Reason, detail string) *Result {
	result := skip(reason, detail)
	return &result
}

func rejected(reason Reason, detail string) *Result {
	result := reject(reason, detail)
	return &result
}

// AppendJSON appends the result as one line of compact JSON without a line break:
//
//	{"result":"event","requests":[…request body…],"warnings":[…]}
//	{"result":"event","requests":[…],"user":{"ensure":"always","request":…request body…},"warnings":[…]}
//	{"result":"upsert","requests":[…request bodies…],"warnings":[…]}
//	{"result":"skip","reason":…,"detail":…}
//	{"result":"reject","reason":…,"detail":…}
//
// An event has the member user where the rules do not leave it at creating a
// missing user by its ids: Ensure is not EnsureMissing, or there is an expression
// for the upsert. It has no request if ensure is never.
func (r *Result) AppendJSON(dst []byte) []byte {
	switch r.Kind {
	case KindUserEvent:
		dst = append(dst, `{"result":"event","requests":[`...)
		dst = append(dst, r.UserEvent.Body...)
		dst = append(dst, ']')
		if r.Ensure != 0 && (r.Ensure != EnsureMissing || r.Upserts != nil) {
			dst = append(dst, `,"user":{"ensure":"`...)
			dst = append(dst, r.Ensure.String()...)
			dst = append(dst, '"')
			if upsert, ok := r.UserUpsert(); ok {
				dst = append(dst, `,"request":`...)
				dst = append(dst, upsert.Body...)
			}
			dst = append(dst, '}')
		}
		return append(r.appendWarnings(dst), '}')
	case KindUserUpsert:
		dst = append(dst, `{"result":"upsert","requests":[`...)
		for i := range r.Upserts {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, r.Upserts[i].Body...)
		}
		return append(r.appendWarnings(append(dst, ']')), '}')
	case KindSkip:
		dst = append(dst, `{"result":"skip","reason":"`...)
	case KindReject:
		dst = append(dst, `{"result":"reject","reason":"`...)
	default:
		return append(dst, "null"...)
	}
	dst = append(dst, r.Reason...)
	dst = append(dst, `","detail":`...)
	dst, _ = jsontext.AppendQuote(dst, r.Detail)
	return append(dst, '}')
}

func (r *Result) appendWarnings(dst []byte) []byte {
	dst = append(dst, `,"warnings":[`...)
	for i, warning := range r.Warnings {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, warning...)
		dst = append(dst, '"')
	}
	return append(dst, ']')
}
