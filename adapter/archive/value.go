package archive

import (
	"fmt"
	"io"
)

// valueStart is the start of a value.
type valueStart struct {
	indent int  // of its line
	first  bool // it is the first on its line
	left   bool // its line has ended
}

// value scans to the end of the value, whole or broken, that begins here. It returns an error if
// the text ends within it.
func (v *values) value() error {
	start := valueStart{indent: v.indent, first: v.fresh}
	v.open.reset()
	inString, escaped := false, false
	before := byte(0) // the last byte that is no blank, 'a' for those of numbers and words
	for {
		if !v.long && v.at-v.from > MaxLine && v.backToLine(&start) {
			return nil
		}
		v.dropLong()
		if v.at == len(v.buffer) {
			if err := v.more(); err != nil {
				return v.cut(&start, err)
			}
		}
		c := v.buffer[v.at]
		switch {
		case escaped && c != '\n':
			escaped = false
			v.at++
			continue
		case inString:
			if n := v.plainLength(); n > 0 {
				v.at += n
				continue
			}
			switch c {
			case '\n':
				v.broken(&start)
				return nil
			case '\\':
				escaped = true
			default:
				inString = false
			}
		case isBlankByte(c):
			start.left = start.left || c == '\n'
			v.blank(c)
			v.at++
			continue
		case before == '"' && c != ':' && c != ',' && c != '}' && c != ']':
			v.broken(&start)
			return nil
		case c == '"':
			inString = true
		case c == '{', c == '[':
			if !v.open.push(c, before) {
				v.broken(&start)
				return nil
			}
		case c == '}', c == ']':
			if !v.open.pop(c) && c == ']' && v.arrays > 0 {
				v.broken(&start)
				return nil
			}
		case c != ',' && c != ':':
			c = 'a'
		}
		v.fresh, before = false, c
		v.at++
		if v.open.depth == 0 && !inString {
			v.dropLong()
			return nil
		}
	}
}

// plainLength returns the number of bytes before the next one that has a meaning in a string,
// within the bounds of an entry.
func (v *values) plainLength() int {
	rest := v.buffer[v.at:]
	if !v.long {
		rest = rest[:min(len(rest), MaxLine+1-(v.at-v.from))]
	}
	for i, c := range rest {
		if c == '"' || c == '\\' || c == '\n' {
			return i
		}
	}
	return len(rest)
}

// cut ends the text within a value. It returns nil if a line of the value may begin another;
// scanning continues there.
func (v *values) cut(start *valueStart, err error) error {
	if !v.long && v.backToLine(start) {
		return nil
	}
	v.from, v.long = v.at, false
	if err == io.EOF {
		err = fmt.Errorf("%w: its last value is not closed", ErrTruncated)
	}
	return err
}

// maxKinds bounds the levels of brackets whose kinds are kept. Deeper levels are counted only. The
// mapping accepts 64.
const maxKinds = 1024

// brackets are the open brackets.
type brackets struct {
	depth  int
	kinds  []byte // of the outermost maxKinds
	counts [2]int // of objects and of arrays among them
}

func (b *brackets) reset() { *b = brackets{kinds: b.kinds[:0]} }

func bracketKind(c byte) int {
	if c == '{' || c == '}' {
		return 0
	}
	return 1
}

// push opens a bracket. It returns false if none may open after the byte before.
func (b *brackets) push(c, before byte) bool {
	if b.depth > 0 && b.depth <= len(b.kinds) {
		inArray := b.kinds[b.depth-1] == '['
		if inArray && before != '[' && before != ',' || !inArray && before != ':' {
			return false
		}
	}
	if b.depth++; b.depth <= maxKinds {
		b.kinds = append(b.kinds, c)
		b.counts[bracketKind(c)]++
	}
	return true
}

// pop closes the innermost bracket of that kind, with all brackets inside. It returns false, and
// closes none, if none is open.
func (b *brackets) pop(c byte) bool {
	if b.depth > len(b.kinds) { // a kind that is not known
		b.depth--
		return true
	}
	kind := bracketKind(c)
	if b.counts[kind] == 0 {
		return false
	}
	for closed := false; !closed; {
		b.depth--
		inner := bracketKind(b.kinds[b.depth])
		b.kinds = b.kinds[:b.depth]
		b.counts[inner]--
		closed = inner == kind
	}
	return true
}
