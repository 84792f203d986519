package mapping

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Ensure says whether the user of an event is upserted with it (M22). Results that are no events have the zero value.
type Ensure uint8

const (
	// EnsureNever sends no upsert: SaaSquatch refuses an event of a user that it does not know.
	EnsureNever Ensure = iota + 1
	// EnsureMissing creates the user if SaaSquatch does not know it.
	EnsureMissing
	// EnsureAlways upserts the user before each event.
	EnsureAlways
)

// The values of users.from_track that are no expressions.
const (
	FromTrackNever   = "never"
	FromTrackMissing = "missing"
	FromTrackAlways  = "always"
)

var ensureWords = [...]string{
	EnsureNever: FromTrackNever, EnsureMissing: FromTrackMissing, EnsureAlways: FromTrackAlways,
}

// String returns the word for users.from_track; empty for the zero value.
func (e Ensure) String() string {
	if int(e) >= len(ensureWords) {
		return ""
	}
	return ensureWords[e]
}

// compileFromTrack returns the Ensure of every event, or the expression that decides for each event. The error is a
// *RuleError.
func compileFromTrack(text string) (Ensure, *expression, error) {
	const key = "users.from_track"
	if ensure := slices.Index(ensureWords[1:], text); ensure >= 0 {
		return Ensure(ensure + 1), nil, nil
	}
	// JSONata reads a bare word as the name of a member, which no event has.
	switch word := strings.ToLower(strings.TrimSpace(text)); word {
	case "":
		return 0, nil, &RuleError{Key: key, Problem: "is empty: use never, missing, always or a JSONata expression"}
	case FromTrackNever, FromTrackMissing, FromTrackAlways, "missing_user":
		problem := fmt.Sprintf("is %q: use %s, or a JSONata expression", text, strings.TrimSuffix(word, "_user"))
		return 0, nil, &RuleError{Key: key, Problem: problem}
	}
	compiled, err := compileExpression(key, text)
	return 0, compiled, err
}

// ensureUser sets whether the user of a track call is upserted, and the upsert if the rules have an expression for
// its body (M22).
func (m *Mapper) ensureUser(e *encoder, env *envelope, now time.Time, result *Result) (refused *Result) {
	result.Ensure = m.rules.ensure
	if e.evaluation.rulesOnly {
		return nil
	}
	if m.rules.fromTrack != nil {
		if result.Ensure, refused = ensureOf(e, env, now); refused != nil {
			return refused
		}
	}
	if m.rules.fromTrackBody == nil || result.Ensure == EnsureNever {
		return nil
	}
	result.Upserts, refused = m.trackUser(e, env, now, &result.UserEvent)
	return refused
}

// UserUpsert returns the upsert that creates the user of a KindUserEvent (M22). It is the one of Upserts, if there is
// one. Else it is made of the event's ids here, since few events need it. ok is false if Ensure is EnsureNever or the
// result is no event.
//
// SaaSquatch does not publish what its own integration sends without a configuration. The call requires the ids
// alone.
func (r *Result) UserUpsert() (upsert UserUpsert, ok bool) {
	switch {
	case r.Kind != KindUserEvent || r.Ensure != EnsureMissing && r.Ensure != EnsureAlways:
		return UserUpsert{}, false
	case len(r.Upserts) > 0:
		return r.Upserts[0], true
	}
	userID, accountID := r.UserEvent.UserID, r.UserEvent.AccountID
	body := encoder{dst: make([]byte, 0, len(userID)+len(accountID)+len(`{"id":"","accountId":""}`))}
	u := newUpserts(&body, []byte(userID), []byte(accountID))
	u.close()
	return UserUpsert{UserID: userID, AccountID: accountID, Body: body.dst}, true
}

// ensureOf evaluates the expression of users.from_track.
func ensureOf(e *encoder, env *envelope, now time.Time) (Ensure, *Result) {
	fromTrack := e.rules.fromTrack
	output, refused := fromTrack.eval(env.message(), expressionTime(env, now), e.evaluation)
	if refused != nil {
		return 0, refused
	}
	switch string(output) {
	case `"NEVER"`:
		return EnsureNever, nil
	case `"MISSING_USER"`:
		return EnsureMissing, nil
	case `"ALWAYS"`:
		return EnsureAlways, nil
	case "":
		return 0, fromTrack.failed("want NEVER, MISSING_USER or ALWAYS, got nothing")
	}
	found := kindName(output[0])
	if output[0] == '"' {
		found = "another text"
	}
	return 0, fromTrack.failed("want NEVER, MISSING_USER or ALWAYS, got " + found)
}

// trackUser returns the upsert that the expression of users.from_track_body makes. The rules of identify calls hold
// for the fields that both have. The other fields of SaaSquatch's open user upsert pass unchecked.
func (m *Mapper) trackUser(e *encoder, env *envelope, now time.Time, event *UserEvent) ([]UserUpsert, *Result) {
	output, refused := m.rules.fromTrackBody.eval(env.message(), expressionTime(env, now), e.evaluation)
	if refused != nil {
		return nil, refused
	}
	e.dst = nil // the event keeps its body
	u := newUpserts(e, []byte(event.UserID), []byte(event.AccountID))
	u.single = true
	if output == nil {
		u.close()
		return u.list(event.UserID, event.AccountID), nil
	}
	if output[0] != '{' {
		return nil, m.rules.fromTrackBody.failed("want an object, got " + kindName(output[0]))
	}
	var user profile
	var customFields []byte
	for quoted, value := range membersOf(output, 0).each {
		name := unquote(quoted, e.validUTF8)
		switch string(name) {
		case "id", "accountId": // set by M4 and M5
		case "customFields":
			customFields = value
		case "segments":
			if !isNullOrAbsent(value) {
				u.segments = e.segmentArray(value)
			}
		default:
			if field := userFieldOf(name); field != userNone {
				user[field] = value
			} else {
				e.warnings |= warnFieldNotInSchema
			}
		}
	}
	e.appendProfile(&user)
	switch {
	case isNullOrAbsent(customFields):
	case customFields[0] != '{':
		e.warnings |= warnFieldInvalid
	case !u.appendCustomFields(customFields, func([]byte) bool { return false }):
		return nil, rejected(RejectUnsupportedValue, "users.from_track_body: "+notCustomField)
	}
	u.close()
	return u.list(event.UserID, event.AccountID), nil
}
