package mapping

import "time"

// InvalidSegments says what becomes of segment operations whose names SaaSquatch
// does not take (M21).
type InvalidSegments string

const (
	// SegmentsDiscardInvalid leaves them out.
	SegmentsDiscardInvalid InvalidSegments = "discard_invalid"
	// SegmentsDiscardAll leaves out every segment operation of the call.
	SegmentsDiscardAll InvalidSegments = "discard_all"
	// SegmentsSanitize strips every character that is no ASCII letter or digit, and
	// leaves out those of which nothing remains.
	SegmentsSanitize InvalidSegments = "sanitize"
)

// segmentsOf returns the segment operations of an identify call as a JSON array,
// nil if there are none.
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

// segmentArray makes an array of valid segment operations of a string or an array;
// nil if there are none.
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

// segment returns the operation that the value becomes, nil if none; ok is false
// unless the value is a valid operation itself.
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

// isSegment reports whether SaaSquatch takes the segment operation: ASCII letters
// and digits behind an optional ~, which removes the user, or ~*, which removes it
// from all segments. The letters are the rule of SaaSquatch's own integration; no
// length is published, so it is that of any string.
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
