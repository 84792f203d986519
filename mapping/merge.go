package mapping

import "bytes"

// EachMember calls yield for each member of an object, in their order, until yield returns false. The object must be
// part of an event that a [Selector] has seen, so that it is valid JSON. No white space may precede it. Name is the
// unescaped name; quoted is the name as the sender wrote it.
func EachMember(object []byte, yield func(name, quoted, value []byte) bool) {
	if len(object) == 0 || object[0] != '{' {
		return
	}
	for quoted, value := range membersOf(object, 0).each {
		if !yield(unquote(quoted, false), quoted, value) {
			return
		}
	}
}

// AppendWithTraits appends the event with these traits, one JSON object, in place of its own. The event must be one
// that the mapping takes. All else stays byte for byte. The traits of the context no longer count.
func AppendWithTraits(dst, event, traits []byte) []byte {
	open := bytes.IndexByte(event, '{')
	if open < 0 {
		return append(dst, event...)
	}
	all := membersOf(event, open)
	separator := ""
	for {
		quoted, ok := all.next()
		if !ok {
			dst = append(append(dst, event[:open]...), `{"traits":`...)
			return append(append(append(dst, traits...), separator...), event[open+1:]...)
		}
		separator = ","
		start := all.i
		all.i = skipValue(event, start)
		if string(unquote(quoted, false)) == "traits" {
			dst = append(append(dst, event[:start]...), traits...)
			return append(dst, event[all.i:]...)
		}
	}
}

// TimeOf returns the event's time by rule M9, in milliseconds since the epoch. ok is false if the event has none or
// is invalid.
func TimeOf(event []byte) (millis int64, ok bool) {
	p := parse(event)
	defer p.release()
	if p.fault != "" {
		return 0, false
	}
	return p.env.triggered()
}
