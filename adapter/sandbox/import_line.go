package sandbox

import (
	jsonv2 "github.com/go-json-experiment/json"
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

// parseEventLine reads and judges a line of an import of user events. That the fields
// must also be what a Track User Event call demands is assumed.
func parseEventLine(r *reader, line []byte) (importedEvent, *apiError) {
	r.resetLine(line)
	if fault := r.check("eventLine"); fault != nil {
		return importedEvent{}, fault
	}
	var sent struct {
		UserID         string `json:"userId"`
		AccountID      string `json:"accountId"`
		IdempotencyKey string `json:"idempotencyKey"`
		Event          struct {
			Key           string         `json:"key"`
			Fields        jsontext.Value `json:"fields"`
			DateTriggered jsontext.Value `json:"dateTriggered"`
		} `json:"event"`
	}
	_ = jsonv2.Unmarshal(line, &sent) // cannot fail: the line was judged
	parsed := importedEvent{
		ref:            userRef{sent.AccountID, sent.UserID},
		idempotencyKey: sent.IdempotencyKey,
		event:          parsedEvent{key: sent.Event.Key, fields: sent.Event.Fields, dated: sent.Event.DateTriggered != nil},
	}
	if parsed.event.dated {
		var ok bool
		if parsed.event.triggered, ok = parseInteger(sent.Event.DateTriggered); !ok {
			return parsed, badRequest("/event/dateTriggered must be a number of milliseconds of at most 64 bits")
		}
	}
	if parsed.event.fields != nil {
		r.reset(parsed.event.fields, "/event/fields")
		if fault := checkValue(r, 0, false); fault != nil {
			return parsed, fault
		}
	}
	return parsed, checkOrder(r, &parsed.event, "/event/fields")
}

// parseUserLine reads and judges a line of an import of users. Its segments are those of
// the job.
func parseUserLine(r *reader, line []byte, segments []string) (userPatch, *apiError) {
	r.resetLine(line)
	patch, fault := readUser(r, "userLine")
	patch.segments = segments
	return patch, fault
}
