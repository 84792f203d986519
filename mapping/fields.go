package mapping

import "unicode/utf8"

// encoder appends one request body to dst and collects warnings meanwhile.
type encoder struct {
	dst         []byte
	scratch     []byte // the current field name, if it differs from the original
	warnings    warningSet
	validUTF8   bool // the whole event is UTF-8
	unsupported bool // M13 applies to the current top-level field
	rules       *compiledRules
	evaluation  evaluation
}

func (e *encoder) raw(text string)    { e.dst = append(e.dst, text...) }
func (e *encoder) quoted(text []byte) { e.dst = appendQuoted(e.dst, text) }

// separate appends a comma unless the member or element is the first.
func (e *encoder) separate() {
	if last := e.dst[len(e.dst)-1]; last != '{' && last != '[' {
		e.dst = append(e.dst, ',')
	}
}

// name appends a field name and its colon. Field names need no escapes.
func (e *encoder) name(name []byte) {
	e.separate()
	e.dst = append(e.dst, '"')
	e.dst = append(e.dst, name...)
	e.dst = append(e.dst, '"', ':')
}

// fieldWalk iterates over an object's members by the names that M11 gives them. It leaves out the members that M11
// drops.
type fieldWalk struct {
	members
	e     *encoder
	start int // where the members begin, behind the brace
	// taken holds the names in use: those that need no change, anywhere in the object, and those already assigned. It
	// is nil until a name needs a change.
	taken map[string]struct{}
	// reserved, if not nil, reports whether a member with this name is no field.
	reserved func(name []byte) bool
}

// walk starts at the object at i.
func (e *encoder) walk(b []byte, i int) fieldWalk {
	return fieldWalk{members: membersOf(b, i), e: e, start: i + 1}
}

// next returns the next name, valid until the next call, and stops at its value. The caller must set w.i behind the
// value.
func (w *fieldWalk) next() (name []byte, ok bool) {
	for {
		quoted, ok := w.members.next()
		if !ok {
			return nil, false
		}
		name = quoted[1 : len(quoted)-1]
		plain := isPlainName(name)
		if !plain {
			name = unquote(quoted, w.e.validUTF8)
			plain = isPlainName(name)
		}
		if w.reserved == nil || !w.reserved(name) {
			if plain {
				return name, true
			}
			if name, ok = w.rename(name); ok {
				return name, true
			}
		}
		w.i = skipValue(w.b, w.i)
	}
}

// rename returns the name that M11 makes of one that needs a change; false if M11 drops the field.
func (w *fieldWalk) rename(name []byte) ([]byte, bool) {
	w.e.scratch = appendPlainName(w.e.scratch[:0], name)
	name = w.e.scratch
	if len(name) == 0 {
		w.e.warnings |= warnFieldNameEmpty
		return nil, false
	}
	if w.taken == nil {
		w.taken = make(map[string]struct{})
		for quoted := range (members{b: w.b, i: w.start}).each {
			plain := unquote(quoted, w.e.validUTF8)
			if isPlainName(plain) && (w.reserved == nil || !w.reserved(plain)) {
				w.taken[string(plain)] = struct{}{}
			}
		}
	}
	if _, taken := w.taken[string(name)]; taken {
		w.e.warnings |= warnFieldNameCollision
		return nil, false
	}
	w.taken[string(name)] = struct{}{}
	return name, true
}

// appendFields appends the fields of an event (M11 to M13). It returns false if the event is rejected.
func (e *encoder) appendFields(properties []byte) bool {
	e.raw("{")
	walk := e.walk(properties, 0)
	for {
		name, ok := walk.next()
		if !ok {
			break
		}
		e.name(name)
		start, warnings := len(e.dst), e.warnings
		valueStart := walk.i
		e.unsupported = false
		walk.i = e.appendValue(walk.b, walk.i, 0, false)
		if !e.unsupported {
			continue
		}
		e.dst, e.warnings = e.dst[:start], warnings|warnValueUnsupported
		switch e.rules.InvalidValues {
		case InvalidDiscardEvent:
			return false
		case InvalidNull:
			e.raw("null")
		default:
			e.appendText(e.compact(walk.b[valueStart:walk.i]), MaxStringChars)
		}
	}
	e.raw("}")
	return true
}

// appendValue appends the value at i and returns the index behind it. The value is nested level deep in its field. If
// SaaSquatch does not support the value, it sets e.unsupported, and the caller must discard what it appended.
func (e *encoder) appendValue(b []byte, i, level int, inArray bool) (end int) {
	switch b[i] {
	case '"':
		end = skipString(b, i)
		e.appendString(b[i:end], MaxStringChars)
		return end
	case '{', '[':
	default:
		end = skipLiteral(b, i)
		if isOutOfRange(b[i:end]) {
			e.unsupported = true
		}
		e.dst = append(e.dst, b[i:end]...)
		return end
	}
	if level == MaxFieldNesting || inArray && b[i] == '[' {
		e.unsupported = true
	}
	if e.unsupported {
		end = skipValue(b, i)
		return end
	}
	if b[i] == '[' {
		return e.appendArray(b, i, level)
	}
	return e.appendObject(b, i, level)
}

func (e *encoder) appendArray(b []byte, i, level int) (end int) {
	e.raw("[")
	all := elementsOf(b, i)
	for {
		start, ok := all.next()
		if !ok {
			break
		}
		e.separate()
		all.i = e.appendValue(b, start, level+1, true)
	}
	e.raw("]")
	return skipSpace(b, all.i) + 1
}

func (e *encoder) appendObject(b []byte, i, level int) (end int) {
	e.raw("{")
	walk := e.walk(b, i)
	for {
		name, ok := walk.next()
		if !ok {
			break
		}
		e.name(name)
		walk.i = e.appendValue(b, walk.i, level+1, false)
	}
	e.raw("}")
	return skipSpace(b, walk.i) + 1
}

// appendString appends a JSON string, cut to maxChars characters (M12).
func (e *encoder) appendString(quoted []byte, maxChars int) {
	text := unquote(quoted, e.validUTF8)
	// unquote copies the text if it holds an escape or bytes that are not UTF-8.
	if len(text) <= maxChars && len(text) > 0 && &text[0] == &quoted[1] {
		e.dst = append(e.dst, quoted...)
		return
	}
	e.appendText(text, maxChars)
}

// appendText appends UTF-8 text as a JSON string, cut to maxChars characters and MaxStringBytes.
func (e *encoder) appendText(text []byte, maxChars int) {
	text, truncated := truncate(text, maxChars, MaxStringBytes)
	if truncated {
		e.warnings |= warnStringTruncated
	}
	e.quoted(text)
}

// compact returns the value as UTF-8 JSON without white space and without needless escapes. It may end early, once
// the text is longer than MaxStringBytes, which M12 cuts anyway.
func (e *encoder) compact(value []byte) []byte {
	text := make([]byte, 0, min(len(value), 2*MaxStringBytes))
	for i := 0; i < len(value) && len(text) <= MaxStringBytes; {
		switch value[i] {
		case '"':
			end := skipString(value, i)
			text = appendQuoted(text, unquote(value[i:end], e.validUTF8))
			i = end
			continue
		case ' ', '\t', '\n', '\r':
		default:
			text = append(text, value[i])
		}
		i++
	}
	return text
}

// toValidUTF8 replaces each byte that is not UTF-8 by U+FFFD.
func toValidUTF8(text []byte) []byte {
	if utf8.Valid(text) {
		return text
	}
	return []byte(string([]rune(string(text))))
}
