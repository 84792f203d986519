package mapping

import (
	"bytes"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// eventsMember stands before the event in Body, eventsEnd behind it.
	eventsMember = `"events":[`
	eventsEnd    = `]}`
)

// AppendImportLine appends the event as one line of a JSONL file for SaaSquatch's user event import, without the line
// break:
//
//	{"userId":…,"accountId":…,"idempotencyKey":…,"event":{"key":…,"fields":{…},"dateTriggered":…}}
//
// The line has the bytes of Body, except that the member event replaces events. Its form is UserEventImportLine of
// SaaSquatch's published schemas, which allow no other members.
//
// A Body that no Mapper made is parsed instead. If it is not JSON with both ids and exactly one event,
// AppendImportLine returns dst unchanged.
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
