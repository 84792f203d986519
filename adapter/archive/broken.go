package archive

// These bound the cost of a hostile text: how often a byte is scanned again on average, and how
// many bytes may be scanned again besides. Beyond them, the entry of a broken value ends where the
// damage showed.
const (
	maxRetraced = 16
	retraceFree = 64 << 20
)

// broken ends a value that cannot be JSON, at the place that the comment of [values] names. The
// current byte shows that it is broken.
func (v *values) broken(start *valueStart) {
	shown := v.offset()
	wentBack := v.goBack(start)
	within := !start.first && (wentBack || !start.left) // on a line that may hold others
	closed := false                                     // nothing has come since a } but blanks and commas
	for {
		v.dropLong()
		c, err := v.peek()
		if err != nil {
			return
		}
		outer := v.fresh && v.indent <= start.indent
		switch {
		case c == recordSeparator, outer && (c == '{' || c == '['):
			return
		case c == ']' && v.arrays > 0 && (outer || v.offset() == shown):
			return
		case c == '{' && within && (closed || v.offset() == shown):
			return
		case outer && c == '}':
			v.at++
			v.fresh = false
			return
		case c == '\n':
			within = false
			v.blank(c)
		case isBlankByte(c):
			v.blank(c)
		default:
			v.fresh = false
			closed = c == '}' || c == ',' && closed
		}
		v.at++
	}
}

// backToLine ends a value that is still open at the end of the text: at the first of its lines
// that may begin another. It reports whether there is one.
func (v *values) backToLine(start *valueStart) bool {
	at, indent, fresh := v.at, v.indent, v.fresh
	if v.goBack(start) {
		for ; v.at < at; v.at++ {
			c := v.buffer[v.at]
			switch {
			case c == recordSeparator, (c == '{' || c == '[') && v.fresh && v.indent <= start.indent:
				return true
			case isBlankByte(c):
				v.blank(c)
			default:
				v.fresh = false
			}
		}
	}
	v.at, v.indent, v.fresh = at, indent, fresh
	return false
}

// goBack returns to the byte after the value's first. It returns false if that byte is gone, or if
// scanning again would cost too much.
func (v *values) goBack(start *valueStart) bool {
	back := int64(v.at - v.from - 1)
	if v.long || back <= 0 || v.retraced+back > retraceFree+maxRetraced*v.offset() {
		return false
	}
	v.retraced += back
	v.at, v.indent, v.fresh = v.from+1, start.indent, false
	return true
}
