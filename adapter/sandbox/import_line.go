package sandbox

import (
	"github.com/go-json-experiment/json/jsontext"
)

// maxLine bounds a line of an import, in bytes. SaaSquatch publishes no limit;
// that of a request's body is assumed.
const maxLine = maxBody

var errLineTooLong = badRequest("The line is longer than %d bytes.", maxLine)

// importedEvent is a valid line of an import of user events.
type importedEvent struct {
	ref            userRef
	idempotencyKey string // empty if there is none
	// event's fields are a part of the line.
	event parsedEvent
}

// parseEventLine reads and judges a line of an import of user events by
// SaaSquatch's published schema, which allows no other members, neither in the
// line nor in its event. That the fields, the event key and the idempotency key
// must also be what a Track User Event call demands is assumed.
func parseEventLine(r *reader, line []byte) (importedEvent, *apiError) {
	r.resetLine(line)
	var parsed importedEvent
	if fault := r.begin('{', "a JSON object"); fault != nil {
		return parsed, fault
	}
	var hasUser, hasAccount, hasEvent bool
	for {
		more, fault := r.more('}')
		if fault != nil {
			return parsed, fault
		}
		if !more {
			break
		}
		name, fault := r.name()
		if fault != nil {
			return parsed, fault
		}
		switch string(name) {
		case "userId":
			hasUser = true
			parsed.ref.userID, fault = readAnyID(r, errBlankUser)
		case "accountId":
			hasAccount = true
			parsed.ref.accountID, fault = readAnyID(r, errBlankAccount)
		case "idempotencyKey":
			parsed.idempotencyKey, fault = readKey(r)
		case "event":
			hasEvent = true
			parsed.event, fault = readEvent(r, true)
		default:
			fault = r.fault("is no member of a line of user events")
		}
		if fault != nil {
			return parsed, fault
		}
	}
	if fault := r.end(); fault != nil {
		return parsed, fault
	}
	switch {
	case !hasUser:
		return parsed, badRequest("userId is required.")
	case !hasAccount:
		return parsed, badRequest("accountId is required.")
	case !hasEvent:
		return parsed, badRequest("event is required.")
	}
	if schema := orderSchemas[parsed.event.key]; schema != nil && parsed.event.fields != nil {
		return parsed, checkOrder(r, schema, &parsed.event, "/event/fields")
	}
	return parsed, nil
}

// importUserRules are the members of a line of an import of users, from
// SaaSquatch's published schema; others are ignored, as that allows them. The
// schema allows only null for imageUrl, and its guide to user imports a string:
// both are taken. That e-mail and locale are judged as in an upsert, and referral codes
// and links are not, is assumed.
var importUserRules = map[string]userRule{
	"paymentProviderId": userText,
	"firstName":         userText,
	"lastName":          userText,
	"referable":         userBoolean,
	"referralCode":      userText,
	"referralCodes":     userProgramMap,
	"shareLinks":        userProgramMap,
	"referredBy":        userOldReferrer,
	"referredByCodes":   userTexts,
	"imageUrl":          userImage,
	"locale":            userLocale,
	"email":             userEmail,
	"dateCreated":       userDate,
}

// parseUserLine reads and judges a line of an import of users. Nothing of the
// patch points into the line. Segments are those of the job, not of a line.
func parseUserLine(r *reader, line []byte) (userPatch, *apiError) {
	r.resetLine(line)
	patch, fault := readUser(r, userForm{rules: importUserRules})
	if fault != nil {
		return patch, fault
	}
	if zone := patch.custom["timeZone"]; zone != nil && jsontext.Value(zone).Kind() != jsontext.KindString {
		return patch, badRequest("/customFields/timeZone must be a string")
	}
	return patch, nil
}
