package mapping

import "github.com/go-json-experiment/json/jsontext"

// Kind is the kind of a Result. The zero value is invalid.
type Kind uint8

const (
	// KindUserEvent: Result.UserEvent holds a body to send.
	KindUserEvent Kind = iota + 1
	// KindSkip: a valid Segment call with nothing to send; never an error.
	KindSkip
	// KindReject: the event can never be sent.
	KindReject
	// KindUserUpsert: Result.Upserts holds bodies to send, in this order.
	KindUserUpsert
	// KindUnfinished: [Options.Done] ended the mapping. The result says nothing about the event.
	KindUnfinished
)

// Result is the outcome of mapping one event. Kind says which one: a user event, user upserts, a skip or a reject.
// There is none if the mapping was ended.
type Result struct {
	Kind Kind
	// MessageID is Segment's messageId, unchanged, or the literal text of a number. It is empty if the event has none
	// or is not JSON.
	MessageID string
	// Identity tells apart events with the same MessageID, if that is no idempotency key. It is a hash of the
	// envelope alone, so rules and later versions do not change it. It is 0 if MessageID is a key or empty. A result
	// with nothing to send may have none.
	Identity int64
	// Event is Segment's name of the event, unchanged; empty if the call has none.
	Event string
	// UserEvent is set if Kind is KindUserEvent.
	UserEvent UserEvent
	// Upserts holds the upserts of a KindUserUpsert, at least one, in the order to send them. All but the first hold
	// only further custom fields. A KindUserEvent has one if the rules have an expression for it. [Result.UserUpsert]
	// returns the upsert that creates the event's user in any case.
	Upserts []UserUpsert
	// Ensure says when the user of a KindUserEvent is upserted. Other kinds have the zero value.
	Ensure Ensure
	// Reason is set if Kind is KindSkip or KindReject.
	Reason Reason
	// Detail explains Reason to a person, in at most a few hundred bytes. It quotes no value of the event except its
	// type.
	Detail string
	// Warnings are sorted and unique; nil if there are none.
	Warnings []Warning
}

// Keyed reports whether MessageID is an idempotency key (M16).
func (r *Result) Keyed() bool { return r.Identity == 0 && IsIdempotencyKey(r.MessageID) }

// UserEvent is one event for SaaSquatch's Track User Event call.
type UserEvent struct {
	// UserID and AccountID belong in the call's path. Body has them too.
	UserID, AccountID string
	// Key is SaaSquatch's name of the event, such as "purchase".
	Key string
	// IdempotencyKey is the event's messageId if that is a valid key; else empty.
	IdempotencyKey string
	// DateTriggered is the time of the event, in milliseconds since the epoch. Timed says whether it is known.
	DateTriggered int64
	Timed         bool
	// Body is the request body, compact JSON in UTF-8.
	Body []byte
	// eventAt is the index in Body of the only element of events; 0 if unknown.
	eventAt int
}

// UserUpsert is one body for SaaSquatch's User Upsert call.
type UserUpsert struct {
	// UserID and AccountID belong in the call's path. Body has them too.
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

// skipped and rejected are skip and reject for functions that return a Result in few cases.

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
// An event has the member user unless the rules only create a missing user by its ids: if Ensure is not EnsureMissing,
// or the rules have an expression for the upsert. The member has no request if ensure is never.
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
