package mapping

import "bytes"

// EachMember calls yield with the members of an object, in their order, until yield
// returns false. The object is a part of an event that a [Selector] has seen: it is
// valid JSON without white space before it. Name is the text of the member's name;
// quoted is the name as it stands.
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

// AppendWithTraits appends the event with the traits, one JSON object, in place of its
// own. The event is one that the mapping takes. All else stays as it was written; the
// traits of the context no longer count.
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

// TimeOf returns the event's time in milliseconds since the epoch, as rule M9 finds it;
// ok is false if the event has none, or is no event.
func TimeOf(event []byte) (millis int64, ok bool) {
	p := parse(event)
	defer p.release()
	if p.fault != "" {
		return 0, false
	}
	return p.env.triggered()
}
