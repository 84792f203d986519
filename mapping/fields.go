package mapping

import "unicode/utf8"

// encoder appends one request body to dst and collects warnings on the way.
type encoder struct {
	dst         []byte
	scratch     []byte // the current field name, where it differs from the original
	warnings    warningSet
	validUTF8   bool // the whole event is UTF-8
	unsupported bool // the current top-level field holds what M13 is about
	rules       *compiledRules
	evaluation  evaluation
}

func (e *encoder) raw(text string)    { e.dst = append(e.dst, text...) }
func (e *encoder) quoted(text []byte) { e.dst = appendQuoted(e.dst, text) }

// separate appends the comma that a further member or element needs.
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

// fieldWalk walks an object's members under the names that M11 gives them, and
// passes over those that it drops.
type fieldWalk struct {
	members
	e     *encoder
	start int // where the members begin, behind the brace
	// taken holds the names that are gone: those that needed no change, wherever
	// they stand in the object, and those already given. It is nil until the
	// first name that needs a change.
	taken map[string]struct{}
	// reserved, if not nil, reports whether a member of that name is no field.
	reserved func(name []byte) bool
}

// walk walks the object at i.
func (e *encoder) walk(b []byte, i int) fieldWalk {
	return fieldWalk{members: membersOf(b, i), e: e, start: i + 1}
}

// next returns the next name, valid until the next call, and leaves the walk at
// its value, which the caller must skip by setting w.i behind it.
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

// rename returns the name that M11 makes of one that needs a change, and false
// if the field has to be dropped.
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

// appendFields appends the fields of an ordinary event (M11 to M13). It returns
// false if the event has to be rejected.
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

// appendValue appends the value at i with level objects and arrays around it in
// its field, and returns the index behind it. It sets e.unsupported if
// SaaSquatch does not support the value; what it appended is of no use then.
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
	// Unquoting made a copy if there was an escape or bytes that are not UTF-8.
	if len(text) <= maxChars && len(text) > 0 && &text[0] == &quoted[1] {
		e.dst = append(e.dst, quoted...)
		return
	}
	e.appendText(text, maxChars)
}

// appendText appends UTF-8 text as a JSON string, cut to maxChars characters and
// to MaxStringBytes.
func (e *encoder) appendText(text []byte, maxChars int) {
	text, truncated := truncate(text, maxChars, MaxStringBytes)
	if truncated {
		e.warnings |= warnStringTruncated
	}
	e.quoted(text)
}

// compact returns the JSON text of the value without white space and without escapes
// that JSON does not need, as UTF-8. It may end early behind MaxStringBytes, where the
// text is cut anyway.
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
