package mapping

import (
	"bytes"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// eventsMember stands in Body before the event, eventsEnd after it.
	eventsMember = `"events":[`
	eventsEnd    = `]}`
)

// AppendImportLine appends the event as one line of SaaSquatch's user event
// import, a JSONL file, without the line break:
//
//	{"userId":…,"accountId":…,"idempotencyKey":…,"event":{"key":…,"fields":{…},"dateTriggered":…}}
//
// These are the bytes of Body, but for the member events, which becomes event.
// The form is that of UserEventImportLine in SaaSquatch's published schemas,
// which allows no other members.
//
// A Body that no Mapper made is taken apart instead. What is not JSON with both
// ids and exactly one event makes no line: dst is returned as it is.
func (e *UserEvent) AppendImportLine(dst []byte) []byte {
	before, ok := bytes.CutSuffix(e.Body[:min(e.eventAt, len(e.Body))], []byte(eventsMember))
	if !ok || !bytes.HasSuffix(e.Body[e.eventAt:], []byte(eventsEnd)) {
		return appendParsedImportLine(dst, e.Body)
	}
	dst = append(dst, before...)
	dst = append(dst, `"event":`...)
	dst = append(dst, e.Body[e.eventAt:len(e.Body)-len(eventsEnd)]...)
	return append(dst, '}')
}

// appendParsedImportLine is AppendImportLine for a body of any form.
func appendParsedImportLine(dst, body []byte) []byte {
	var parsed struct {
		UserID         jsontext.Value   `json:"userId"`
		AccountID      jsontext.Value   `json:"accountId"`
		IdempotencyKey jsontext.Value   `json:"idempotencyKey"`
		Events         []jsontext.Value `json:"events"`
	}
	body = bytes.Clone(body) // Compact works in place
	value := jsontext.Value(body)
	if value.Compact() != nil || json.Unmarshal(value, &parsed) != nil || len(parsed.Events) != 1 ||
		parsed.UserID.Kind() != '"' || parsed.AccountID.Kind() != '"' || parsed.Events[0].Kind() != '{' {
		return dst
	}
	dst = append(append(dst, `{"userId":`...), parsed.UserID...)
	dst = append(append(dst, `,"accountId":`...), parsed.AccountID...)
	if parsed.IdempotencyKey.Kind() == '"' {
		dst = append(append(dst, `,"idempotencyKey":`...), parsed.IdempotencyKey...)
	}
	dst = append(append(dst, `,"event":`...), parsed.Events[0]...)
	return append(dst, '}')
}
