package sandbox

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxStringBytes is the longest string in fields, in bytes of UTF-8; from SaaSquatch's published API definition.
	maxStringBytes = 1500
	// maxNesting is the depth of objects and arrays in one field. SaaSquatch publishes no limit, and a published
	// example has 12 levels. 20 is inferred: the published limits are those of Google Cloud Datastore, which nests
	// at most 20 deep.
	maxNesting = 20
)

// parsedEvent is one event of a request.
type parsedEvent struct {
	key string
	// fields is a part of the body; nil if the event has none.
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

// parseEvents reads and checks the body of a Track User Event call. The events are valid until the scratch is freed,
// their fields as long as the body.
//
// Required members and types are those of SaaSquatch's published API definition. It allows unknown members, which are
// ignored. Assumed: SaaSquatch refuses ids that differ from the path, an empty list of events and a blank event key.
// Assumed as well: a dateTriggered has no fraction, as in SaaSquatch's schema of imported events.
//
// It is written by hand because nearly every call of a load test comes here. A validator of JSON Schemas takes several
// times as long (BenchmarkTrackEvents).
func parseEvents(scratch *scratch, body []byte, accountID, userID string) (eventBody, *apiError) {
	r := &scratch.reader
	r.reset(body, "")
	scratch.events = scratch.events[:0]
	var parsed eventBody
	var hasUser, hasAccount, hasEvents bool
	apiErr := r.members("a JSON object", func(name []byte) (apiErr *apiError) {
		switch string(name) {
		case "userId":
			hasUser = true
			return readID(r, userID, errBlankUser)
		case "accountId":
			hasAccount = true
			return readID(r, accountID, errBlankAccount)
		case "idempotencyKey":
			parsed.idempotencyKey, apiErr = readKey(r)
			return apiErr
		case "events":
			hasEvents = true
			return readEvents(scratch)
		default:
			return r.skip()
		}
	})
	if apiErr == nil {
		apiErr = r.end()
	}
	switch {
	case apiErr != nil:
		return parsed, apiErr
	case !hasUser:
		return parsed, badRequest("userId is required.")
	case !hasAccount:
		return parsed, badRequest("accountId is required.")
	case !hasEvents:
		return parsed, badRequest("events is required.")
	}
	parsed.events = scratch.events
	for i := range parsed.events {
		event := &parsed.events[i]
		if !event.isOrder() {
			continue
		}
		r.reset(event.fields, "/events/"+strconv.Itoa(i)+"/fields")
		if apiErr := r.check(event.key); apiErr != nil {
			return parsed, apiErr
		}
	}
	return parsed, nil
}

// isOrder reports whether SaaSquatch publishes a schema of the fields: it reserves the keys purchase and refund. No
// field is required. Assumed: SaaSquatch answers 400 to other fields. Its documentation only calls such purchases
// invalid.
func (e *parsedEvent) isOrder() bool {
	return e.fields != nil && (e.key == "purchase" || e.key == "refund")
}

// readID reads an id, which must be that in the path.
func readID(r *reader, want string, blank *apiError) *apiError {
	id, apiErr := r.string()
	switch {
	case apiErr != nil:
		return apiErr
	case isBlank(id):
		return blank
	case string(id) != want:
		return r.errorf("must be the id in the path")
	}
	return nil
}

func readKey(r *reader) (string, *apiError) {
	key, apiErr := r.string()
	switch {
	case apiErr != nil:
		return "", apiErr
	case !validKey(key):
		return "", r.errorf("must have %d to %d characters, each a letter, a digit, '.', '-' or '_'",
			minKeyLength, maxKeyLength)
	}
	return string(key), nil
}

// keyOf returns the idempotency key of a body that is otherwise invalid; empty if it has no valid key.
func keyOf(r *reader, body []byte) (key string) {
	r.reset(body, "")
	// What is wrong with the body does not matter. readKey returns no key with an error.
	_ = r.members("", func(name []byte) (apiErr *apiError) {
		if string(name) == "idempotencyKey" {
			key, apiErr = readKey(r)
			return apiErr
		}
		return r.skip()
	})
	return key
}

func readEvents(scratch *scratch) *apiError {
	r := &scratch.reader
	apiErr := r.each(jsontext.KindBeginArray, "an array", func() *apiError {
		event, apiErr := readEvent(r)
		scratch.events = append(scratch.events, event)
		return apiErr
	})
	if apiErr == nil && len(scratch.events) == 0 {
		return r.errorf("must not be empty")
	}
	return apiErr
}

func readEvent(r *reader) (parsedEvent, *apiError) {
	var event parsedEvent
	hasKey := false
	apiErr := r.members("an object", func(name []byte) (apiErr *apiError) {
		switch string(name) {
		case "key":
			hasKey = true
			key, apiErr := r.string()
			if apiErr == nil && isBlank(key) {
				apiErr = r.errorf("must not be blank")
			}
			event.key = string(key)
			return apiErr
		case "fields":
			event.fields, apiErr = readFields(r)
		case "dateTriggered":
			event.dated = true
			event.triggered, apiErr = r.integer("a number of milliseconds without a fraction")
		default:
			apiErr = r.skip()
		}
		return apiErr
	})
	if apiErr == nil && !hasKey {
		apiErr = r.errorf("must have a key")
	}
	return event, apiErr
}

func readFields(r *reader) ([]byte, *apiError) {
	if r.decoder.PeekKind() != jsontext.KindBeginObject {
		return nil, r.typeError("an object")
	}
	fields, apiErr := r.raw()
	if apiErr != nil || isPlain(fields) {
		return fields, apiErr
	}
	// After an error the reader is not used further. Without one it goes on behind the fields.
	inner := scratches.Get().(*scratch)
	defer inner.free()
	inner.reader.reset(fields, r.where+string(r.decoder.StackPointer()))
	return fields, checkValue(&inner.reader, 0, false)
}

// isPlain reports whether checkValue surely accepts a valid JSON object: it has no long string, no array in an array,
// and few levels. Nearly all fields are plain. It reads bytes instead of tokens, which is faster (BenchmarkBulk).
func isPlain(object []byte) bool {
	level, arrays := 0, uint64(0) // bit 0 of arrays is set in an array, bit 1 if that is in an array, and so on
	for i := 0; i < len(object); i++ {
		switch object[i] {
		case '"':
			start := i
			for i++; object[i] != '"'; i++ {
				if object[i] == '\\' {
					i++
				}
			}
			if i-start > maxStringBytes {
				return false
			}
		case '{', '[':
			isArray := object[i] == '['
			if level > maxNesting || isArray && arrays&1 == 1 {
				return false
			}
			level++
			arrays <<= 1
			if isArray {
				arrays |= 1
			}
		case '}', ']':
			level--
			arrays >>= 1
		}
	}
	return true
}

// checkValue reads a value in fields and refuses what SaaSquatch does not support. The level is the number of objects
// and arrays around the value; fields is at level 0.
func checkValue(r *reader, level int, inArray bool) *apiError {
	kind := r.decoder.PeekKind()
	switch kind {
	case jsontext.KindString:
		return checkString(r)
	case jsontext.KindBeginObject, jsontext.KindBeginArray:
	default:
		return r.skip()
	}
	isArray := kind == jsontext.KindBeginArray
	if inArray && isArray {
		return r.typeError("no array, since it is an element of one: arrays of arrays are not supported")
	}
	if level > maxNesting {
		return r.typeError("no object or array, since it nests too deep in its field")
	}
	return r.each(kind, "", func() *apiError {
		if !isArray {
			if apiErr := r.skip(); apiErr != nil { // the name
				return apiErr
			}
		}
		return checkValue(r, level+1, isArray)
	})
}

func checkString(r *reader) *apiError {
	value, err := r.decoder.ReadValue()
	if err != nil {
		return r.syntaxError(err)
	}
	// No string is longer than its quoted form.
	if len(value)-len(`""`) <= maxStringBytes {
		return nil
	}
	r.text, _ = jsontext.AppendUnquote(r.text[:0], value)
	if len(r.text) > maxStringBytes {
		return r.errorf("must have at most %d bytes of UTF-8, and has %d", maxStringBytes, len(r.text))
	}
	return nil
}

// isBlank reports whether a text is empty or white space.
func isBlank(text []byte) bool { return len(bytes.TrimSpace(text)) == 0 }
