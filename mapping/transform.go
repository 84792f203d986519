package mapping

import (
	"bytes"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// transform replaces the event, the last thing in dst, by the output of events.transform over it. M11 to M13 hold for
// its fields again; M10 and M14 do not.
func (m *Mapper) transform(e *encoder, env *envelope, now time.Time, event *UserEvent) (refused *Result) {
	transform := m.rules.transform
	output, refused := transform.eval(e.dst[event.eventAt:], expressionTime(env, now), e.evaluation)
	switch {
	case refused != nil:
		return refused
	case output == nil:
		return skipped(SkipEventNotSelected, "events.transform yields nothing for the event")
	case output[0] != '{':
		return transform.failed("want an object, got " + kindName(output[0]))
	}
	var key, fields, triggered []byte
	for quoted, value := range membersOf(output, 0).each {
		switch string(quoted) {
		case `"key"`:
			key = value
		case `"fields"`:
			fields = value
		case `"dateTriggered"`:
			triggered = value
		default:
			return transform.failed("yields a member other than key, fields and dateTriggered")
		}
	}
	if isNullOrAbsent(fields) {
		fields = nil
	}
	if fields != nil && fields[0] != '{' {
		return transform.failed("fields: want an object, got " + kindName(fields[0]))
	}
	name := e.textOf(key)
	if name == nil || utf8.RuneCount(name) > MaxNameLength || bytes.ContainsFunc(name, unicode.IsControl) {
		return transform.failed("key: want a text of 1 to " + strconv.Itoa(MaxNameLength) +
			" characters, not blank and without control characters")
	}
	event.Key = string(name)
	event.DateTriggered, event.Timed = 0, false
	if !isNullOrAbsent(triggered) {
		millis, err := strconv.ParseInt(string(triggered), 10, 64)
		if err != nil || millis > maxMillis || millis < -maxMillis {
			return transform.failed("dateTriggered: want a whole number of milliseconds since 1970")
		}
		event.DateTriggered, event.Timed = millis, true
		e.warnings &^= warnNoTimestamp
	}

	e.dst = e.dst[:event.eventAt]
	e.raw(`{"key":`)
	e.quoted(name)
	if !e.appendEventFields(fields, "") {
		return unsupportedFields("events.transform")
	}
	e.appendDate(event)
	return nil
}
