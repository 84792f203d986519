package archive

import "bytes"

// verdict is the form of a text by its start.
type verdict int

const (
	leadsToMore   verdict = iota + 1 // it is too short to tell
	leadsToLines                     // one JSON value a line
	leadsToValues                    // an array, or values in another form
	leadsToGzip
	leadsToZstd
	leadsToOther // another format
)

// recordSeparator stands before each value of a JSON text sequence (RFC 7464).
const recordSeparator = 0x1e

// maxLead bounds the blank bytes that are scanned before and after the first value. A text with
// more of them is lines.
const maxLead = 1 << 20

// lead tells what a text is by its start. The text is lines, unless it begins with
// one of these, behind blank lines:
//
//   - [ with { or ] behind it: an array of events;
//   - an object that is still open where its first line ends, outside of a string, and
//     that has something on the next lines: values over several lines;
//   - an object with another value behind it on the same line, with or without spaces,
//     a comma, a carriage return or a record separator between them;
//   - a record separator (RFC 7464).
//
// So a first line that is a complete value, or is broken within a string, means
// lines: all lines of the text are lines then.
type lead struct {
	other    *FormatError // with leadsToOther
	at       int          // the next byte to look at
	phase    leadPhase
	blanks   int
	depth    int
	inString bool
	escaped  bool
}

type leadPhase int

const (
	leadUnknown leadPhase = iota // may be another format
	leadBlank                    // before the first value
	leadArray                    // behind the [
	leadObject                   // within the first value
	leadOpen                     // behind the first line, which left the value open
	leadClosed                   // behind the first value, on its line
	leadComma                    // behind a comma there
	leadReturn                   // behind a carriage return there
)

// look scans the start of a text; earlier calls have scanned less of it. whole means that it is
// the whole text.
func (l *lead) look(head []byte, whole bool) verdict {
	if l.phase == leadUnknown {
		if v := l.format(head, whole); v != leadsToLines {
			return v
		}
		l.phase = leadBlank
		if bytes.HasPrefix(head, byteOrderMark) {
			l.at = len(byteOrderMark)
		}
	}
	for ; l.at < len(head); l.at++ {
		if v := l.next(head[l.at]); v != leadsToMore {
			return v
		}
		if l.blanks > maxLead || l.at > maxLead+longest {
			return leadsToLines
		}
	}
	switch {
	case !whole:
		return leadsToMore
	case l.phase == leadArray, l.phase == leadComma:
		return leadsToValues
	}
	return leadsToLines
}

// format recognizes another format. Otherwise the text is lines at first.
func (l *lead) format(head []byte, whole bool) verdict {
	switch kind, more := packingOf(head); {
	case more && !whole:
		return leadsToMore
	case kind == packedGzip:
		return leadsToGzip
	case kind == packedZstd:
		return leadsToZstd
	case len(head) == 0:
		return leadsToLines
	}
	enough := whole
	switch c := head[0]; {
	case c == '{' || c == '[' || isBlankByte(c):
		// Only a zero after it needs a second look. No person types that.
		enough = enough || len(head) >= 4 || len(head) >= 2 && head[1] != 0
	case c == byteOrderMark[0]:
		enough = enough || len(head) >= len(byteOrderMark)
	case c == recordSeparator || c == '"':
		enough = true
	default:
		enough = enough || len(head) >= signatureLength || len(head) >= 4 && bytes.IndexByte(head, '\n') >= 0
	}
	if !enough {
		return leadsToMore
	}
	if l.other = wideText(head); l.other == nil {
		l.other = otherFormat(head)
	}
	if l.other != nil {
		return leadsToOther
	}
	return leadsToLines
}

// next scans one more byte.
func (l *lead) next(c byte) verdict {
	if l.phase == leadObject {
		return l.inObject(c)
	}
	if isBlankByte(c) {
		l.blanks++
	}
	if isBlankByte(c) && c != '\n' && c != '\r' {
		// A tab behind a value means a table, which has lines.
		if c == '\t' && l.phase == leadClosed {
			return leadsToLines
		}
		return leadsToMore
	}
	switch l.phase {
	case leadBlank:
		return l.first(c)
	case leadArray:
		switch c {
		case '{', ']':
			return leadsToValues
		case '\n', '\r':
			return leadsToMore
		}
	case leadOpen:
		if c == '\n' || c == '\r' {
			return leadsToMore
		}
		return leadsToValues
	default:
		return l.behind(c)
	}
	return leadsToLines
}

// first scans a byte before the first value.
func (l *lead) first(c byte) verdict {
	switch c {
	case '\n', '\r':
		return leadsToMore
	case recordSeparator:
		return leadsToValues
	case '[':
		l.phase = leadArray
		return leadsToMore
	case '{':
		l.phase = leadObject
		l.depth = 1
		return leadsToMore
	}
	return leadsToLines
}

// inObject scans a byte of the first value.
func (l *lead) inObject(c byte) verdict {
	switch {
	case c == '\n':
		if l.inString {
			return leadsToLines
		}
		l.phase = leadOpen
	case l.escaped:
		l.escaped = false
	case l.inString:
		l.escaped, l.inString = c == '\\', c != '"'
	case c == '"':
		l.inString = true
	case c == '{', c == '[':
		l.depth++
	case c == '}', c == ']':
		if l.depth--; l.depth == 0 {
			l.phase = leadClosed
		}
	}
	return leadsToMore
}

// behind scans a byte after the first value.
func (l *lead) behind(c byte) verdict {
	switch c {
	case '{', '[', recordSeparator:
		return leadsToValues
	case ',':
		if l.phase == leadClosed {
			l.phase = leadComma
			return leadsToMore
		}
	case '\r':
		if l.phase == leadClosed {
			l.phase = leadReturn
		}
		return leadsToMore
	case '\n':
		if l.phase == leadComma {
			return leadsToValues
		}
	}
	return leadsToLines
}

func isBlankByte(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
