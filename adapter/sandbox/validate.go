package sandbox

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxStringBytes is the longest string in fields, in bytes of UTF-8; from
	// SaaSquatch's published API definition.
	maxStringBytes = 1500
	// maxNesting is how many objects and arrays may lie within each other in one
	// field. SaaSquatch publishes no limit, and a published example has 12 levels.
	// 20 is inferred: the published limits are those of Google Cloud Datastore,
	// which nests at most 20 deep.
	maxNesting = 20
)

// parsedEvent is one event of a request.
type parsedEvent struct {
	key string
	// fields is a part of the body, or nil if the event has none.
	fields []byte
	// triggered is dateTriggered in Unix milliseconds, if dated.
	triggered int64
	dated     bool
}

// eventBody is the valid body of a Track User Event call.
type eventBody struct {
	idempotencyKey string // empty if there is none
	events         []parsedEvent
}

// parseEvents reads and judges the body of a Track User Event call. The events
// are valid until the scratch is freed, their fields as long as the body.
//
// Required members and types are those of SaaSquatch's published API definition;
// unknown members are ignored, as that allows them. Assumed are: ids in the body
// that differ from the path, an empty list of events and a blank event key are
// refused, and a dateTriggered has no fraction, as SaaSquatch's schema of
// imported events says.
func parseEvents(scratch *scratch, body []byte, accountID, userID string) (eventBody, *apiError) {
	r := &scratch.reader
	r.reset(body, "")
	var parsed eventBody
	if fault := r.begin('{', "a JSON object"); fault != nil {
		return parsed, fault
	}
	var hasUser, hasAccount, hasEvents bool
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
			fault = readID(r, userID, errBlankUser)
		case "accountId":
			hasAccount = true
			fault = readID(r, accountID, errBlankAccount)
		case "idempotencyKey":
			parsed.idempotencyKey, fault = readKey(r)
		case "events":
			hasEvents = true
			fault = readEvents(scratch)
		default:
			fault = r.skip()
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
	case !hasEvents:
		return parsed, badRequest("events is required.")
	}
	parsed.events = scratch.events
	for i := range parsed.events {
		if fault := checkOrder(r, &parsed.events[i], "/events/"+strconv.Itoa(i)+"/fields"); fault != nil {
			return parsed, fault
		}
	}
	return parsed, nil
}

// checkOrder judges the fields of the two reserved events by SaaSquatch's schemas of them.
// No field is required. That SaaSquatch answers 400 to other fields is assumed: its
// documentation only calls such purchases invalid.
func checkOrder(r *reader, event *parsedEvent, where string) *apiError {
	if event.fields == nil || event.key != "purchase" && event.key != "refund" {
		return nil
	}
	r.reset(event.fields, where)
	return r.check(event.key)
}

// readID reads an id that must be that of the path.
func readID(r *reader, want string, blank *apiError) *apiError {
	id, fault := r.string()
	switch {
	case fault != nil:
		return fault
	case isBlank(id):
		return blank
	case string(id) != want:
		return r.fault("must be the id in the path")
	}
	return nil
}

func readKey(r *reader) (string, *apiError) {
	key, fault := r.string()
	switch {
	case fault != nil:
		return "", fault
	case !validKey(key):
		return "", r.fault("must have %d to %d characters, each a letter, a digit, '.', '-' or '_'", minKeyLength, maxKeyLength)
	}
	return string(key), nil
}

// keyOf returns the idempotency key of a body that is not valid otherwise, or
// nothing if it has no valid one.
func keyOf(r *reader, body []byte) string {
	r.reset(body, "")
	if r.begin('{', "") != nil {
		return ""
	}
	for {
		if more, fault := r.more('}'); fault != nil || !more {
			return ""
		}
		name, fault := r.name()
		if fault != nil {
			return ""
		}
		if string(name) == "idempotencyKey" {
			// readKey returns nothing with a fault.
			key, _ := readKey(r)
			return key
		}
		if r.skip() != nil {
			return ""
		}
	}
}

func readEvents(scratch *scratch) *apiError {
	r := &scratch.reader
	if fault := r.begin('[', "an array"); fault != nil {
		return fault
	}
	for {
		more, fault := r.more(']')
		if fault != nil {
			return fault
		}
		if !more {
			break
		}
		event, fault := readEvent(r)
		if fault != nil {
			return fault
		}
		scratch.events = append(scratch.events, event)
	}
	if len(scratch.events) == 0 {
		return r.fault("must not be empty")
	}
	return nil
}

func readEvent(r *reader) (parsedEvent, *apiError) {
	var event parsedEvent
	if fault := r.begin('{', "an object"); fault != nil {
		return event, fault
	}
	hasKey := false
	for {
		more, fault := r.more('}')
		if fault != nil {
			return event, fault
		}
		if !more {
			break
		}
		name, fault := r.name()
		if fault != nil {
			return event, fault
		}
		switch string(name) {
		case "key":
			hasKey = true
			var key []byte
			if key, fault = r.string(); fault == nil && isBlank(key) {
				fault = r.fault("must not be blank")
			}
			event.key = string(key)
		case "fields":
			event.fields, fault = readFields(r)
		case "dateTriggered":
			event.dated = true
			event.triggered, fault = r.integer("a number of milliseconds without a fraction")
		default:
			fault = r.skip()
		}
		if fault != nil {
			return event, fault
		}
	}
	if !hasKey {
		return event, r.fault("must have a key")
	}
	return event, nil
}

func readFields(r *reader) ([]byte, *apiError) {
	start := r.decoder.InputOffset()
	if r.decoder.PeekKind() != jsontext.KindBeginObject {
		return nil, r.wrong("an object")
	}
	if fault := checkValue(r, 0, false); fault != nil {
		return nil, fault
	}
	return r.since(start), nil
}

// checkValue reads a value in fields that has level objects and arrays around
// it, counting fields as the first, and checks what SaaSquatch does not support.
func checkValue(r *reader, level int, inArray bool) *apiError {
	kind := r.decoder.PeekKind()
	switch kind {
	case jsontext.KindString:
		return checkString(r)
	case jsontext.KindBeginObject, jsontext.KindBeginArray:
	default:
		return r.skip()
	}
	if inArray && kind == jsontext.KindBeginArray {
		return r.wrong("no array, since it is an element of one: arrays of arrays are not supported")
	}
	if level > maxNesting {
		return r.wrong("no object or array, since it nests too deep in its field")
	}
	if _, err := r.decoder.ReadToken(); err != nil {
		return r.syntaxFault(err)
	}
	end := jsontext.KindEndObject
	if kind == jsontext.KindBeginArray {
		end = jsontext.KindEndArray
	}
	for {
		more, fault := r.more(end)
		if fault != nil || !more {
			return fault
		}
		if kind == jsontext.KindBeginObject {
			if fault := r.skip(); fault != nil { // the name
				return fault
			}
		}
		if fault := checkValue(r, level+1, kind == jsontext.KindBeginArray); fault != nil {
			return fault
		}
	}
}

func checkString(r *reader) *apiError {
	value, err := r.decoder.ReadValue()
	if err != nil {
		return r.syntaxFault(err)
	}
	// No string is longer than its quoted form.
	if len(value)-len(`""`) <= maxStringBytes {
		return nil
	}
	r.text, _ = jsontext.AppendUnquote(r.text[:0], value)
	if len(r.text) > maxStringBytes {
		return r.fault("must have at most %d bytes of UTF-8, and has %d", maxStringBytes, len(r.text))
	}
	return nil
}

// isBlank reports whether a text is empty or white space.
func isBlank(text []byte) bool { return len(bytes.TrimSpace(text)) == 0 }
