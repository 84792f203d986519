package mapping

import (
	"bytes"

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
	body = bytes.Clone(body) // Compact works in place
	value := jsontext.Value(body)
	if value.Kind() != '{' || value.Compact() != nil {
		return dst
	}
	members := make(map[string]jsontext.Value)
	decoder := jsontext.NewDecoder(bytes.NewReader(value))
	_, err := decoder.ReadToken()
	for err == nil && decoder.PeekKind() != '}' {
		var name jsontext.Token
		if name, err = decoder.ReadToken(); err != nil {
			break
		}
		text := name.String()
		var member jsontext.Value
		member, err = decoder.ReadValue()
		members[text] = member.Clone()
	}
	event := onlyElement(members["events"])
	if err != nil || members["userId"].Kind() != '"' || members["accountId"].Kind() != '"' || event.Kind() != '{' {
		return dst
	}
	dst = append(append(dst, `{"userId":`...), members["userId"]...)
	dst = append(append(dst, `,"accountId":`...), members["accountId"]...)
	if key := members["idempotencyKey"]; key.Kind() == '"' {
		dst = append(append(dst, `,"idempotencyKey":`...), key...)
	}
	dst = append(append(dst, `,"event":`...), event...)
	return append(dst, '}')
}

// onlyElement returns the element of an array that has just one, else nil.
func onlyElement(array jsontext.Value) jsontext.Value {
	if array.Kind() != '[' {
		return nil
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(array))
	if _, err := decoder.ReadToken(); err != nil || decoder.PeekKind() == ']' {
		return nil
	}
	element, err := decoder.ReadValue()
	element = element.Clone()
	if err != nil || decoder.PeekKind() != ']' {
		return nil
	}
	return element
}
