package sandbox

import (
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxLine bounds a line of an import, in bytes. SaaSquatch publishes no limit. Assumed: that of a request's body.
const maxLine = maxBody

var errLineTooLong = badRequest("The line is longer than %d bytes.", maxLine)

// importedEvent is a valid line of an import of user events.
type importedEvent struct {
	ref            userRef
	idempotencyKey string // empty if there is none
	event          parsedEvent
}

// parseEventLine reads and checks a line of an import of user events. The fields of the event are a part of the line.
// Assumed: the fields must be what a Track User Event call demands.
func parseEventLine(r *reader, line []byte) (importedEvent, *apiError) {
	r.resetLine(line)
	if apiErr := r.check("eventLine"); apiErr != nil {
		return importedEvent{}, apiErr
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
	_ = jsonv2.Unmarshal(line, &sent) // cannot fail: the line is valid
	parsed := importedEvent{
		ref:            userRef{sent.AccountID, sent.UserID},
		idempotencyKey: sent.IdempotencyKey,
		event: parsedEvent{
			key:    sent.Event.Key,
			fields: sent.Event.Fields,
			dated:  sent.Event.DateTriggered != nil,
		},
	}
	if parsed.event.dated {
		var ok bool
		if parsed.event.triggered, ok = parseInteger(sent.Event.DateTriggered); !ok {
			return parsed, badRequest("/event/dateTriggered must be a number of milliseconds of at most 64 bits")
		}
	}
	if parsed.event.fields != nil {
		r.reset(parsed.event.fields, "/event/fields")
		if apiErr := checkValue(r, 0, false); apiErr != nil {
			return parsed, apiErr
		}
	}
	if parsed.event.isOrder() {
		r.reset(parsed.event.fields, "/event/fields")
		return parsed, r.check(parsed.event.key)
	}
	return parsed, nil
}

// parseUserLine reads and checks a line of an import of users. The operations on segments are those of the job.
func parseUserLine(r *reader, line []byte, segments []string) (userPatch, *apiError) {
	r.resetLine(line)
	patch, apiErr := readUser(r, "userLine")
	patch.segments = segments
	return patch, apiErr
}
