package mapping

import "time"

// InvalidSegments says what happens to segment operations that SaaSquatch does not accept (M21).
type InvalidSegments string

const (
	// SegmentsDiscardInvalid leaves out the invalid ones.
	SegmentsDiscardInvalid InvalidSegments = "discard_invalid"
	// SegmentsDiscardAll leaves out every segment operation of the call.
	SegmentsDiscardAll InvalidSegments = "discard_all"
	// SegmentsSanitize removes every character except ASCII letters and digits, and leaves out operations that become
	// empty.
	SegmentsSanitize InvalidSegments = "sanitize"
)

// segmentsOf returns the segment operations of an identify call as a JSON array; nil if there are none.
func (m *Mapper) segmentsOf(e *encoder, env *envelope, now time.Time) (array []byte, refused *Result) {
	if m.rules.segments == nil || e.evaluation.rulesOnly {
		return nil, nil
	}
	output, refused := m.rules.segments.eval(env.message(), expressionTime(env, now), e.evaluation)
	if output == nil {
		return nil, refused
	}
	return e.segmentArray(output), nil
}

// segmentArray returns the valid segment operations of a string or an array as a JSON array; nil if there are none.
func (e *encoder) segmentArray(value []byte) []byte {
	list := encoder{dst: append(make([]byte, 0, len(value)), '['), validUTF8: e.validUTF8}
	valid := true
	take := func(element []byte) {
		segment, ok := e.segment(element)
		valid = valid && ok
		if segment != nil {
			list.separate()
			list.quoted(segment)
		}
	}
	if value[0] == '[' {
		for element := range elementsOf(value, 0).each {
			take(element)
		}
	} else {
		take(value)
	}
	if !valid {
		e.warnings |= warnSegmentInvalid
		if e.rules.InvalidSegments == SegmentsDiscardAll {
			return nil
		}
	}
	if len(list.dst) == len("[") {
		return nil
	}
	return append(list.dst, ']')
}

// segment returns the operation made of the value; nil if there is none. ok is true if the value is a valid operation
// as it is.
func (e *encoder) segment(value []byte) (operation []byte, ok bool) {
	text := e.textOf(value)
	if isSegment(text) {
		return text, true
	}
	if e.rules.InvalidSegments != SegmentsSanitize || len(text) == 0 {
		return nil, false
	}
	for i, c := range text {
		if isAlphanumeric(c) || i == 0 && c == '~' {
			operation = append(operation, c)
		}
	}
	if !isSegment(operation) {
		return nil, false
	}
	return operation, false
}

// isSegment reports whether SaaSquatch accepts the segment operation: ASCII letters and digits. A leading ~ removes
// the user from the segment, and ~* removes the user from all. The letters are a rule of SaaSquatch's own
// integration. It publishes no length, so the limit is that of any string.
func isSegment(operation []byte) bool {
	if string(operation) == "~*" {
		return true
	}
	if len(operation) > MaxStringChars {
		return false
	}
	if len(operation) > 0 && operation[0] == '~' {
		operation = operation[1:]
	}
	for _, c := range operation {
		if !isAlphanumeric(c) {
			return false
		}
	}
	return len(operation) > 0
}
