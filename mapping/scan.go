package mapping

import (
	"encoding/binary"
	"math/bits"
)

// The functions of this file scan JSON that the parser has found valid, so they check nothing. An index i points at
// the first byte of the value, and the returned index points behind its last byte.

// skipSpace returns the index of the first byte at or after i that is not white space.
func skipSpace(b []byte, i int) int {
	for i < len(b) {
		switch b[i] {
		case ' ', '\t', '\n', '\r':
			i++
		default:
			return i
		}
	}
	return i
}

// skipString skips the string whose opening quote stands at i. It compares eight bytes at once: most strings are
// short, and bytes.IndexByte is slower for them.
func skipString(b []byte, i int) int {
	for i++; i+8 <= len(b); {
		word := binary.LittleEndian.Uint64(b[i:])
		found := zeroBytes(word^eachByte*'"') | zeroBytes(word^eachByte*'\\')
		if found == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(found) / 8
		if b[i] == '"' {
			return i + 1
		}
		i += 2 // over the escape
	}
	for i < len(b) && b[i] != '"' {
		if b[i] == '\\' {
			i++
		}
		i++
	}
	return i + 1
}

const eachByte = 0x0101010101010101

// zeroBytes sets the high bit of the lowest zero byte in word. Higher bits mean nothing.
func zeroBytes(word uint64) uint64 {
	return (word - eachByte) &^ word & (eachByte * 0x80)
}

// skipLiteral skips a number, true, false or null.
func skipLiteral(b []byte, i int) int {
	for i < len(b) {
		switch b[i] {
		case ',', '}', ']', ' ', '\t', '\n', '\r':
			return i
		}
		i++
	}
	return i
}

// skipValue skips the value at i.
func skipValue(b []byte, i int) (end int) {
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
	default:
		return skipLiteral(b, i)
	}
	for open := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = skipString(b, i) - 1
		case '{', '[':
			open++
		case '}', ']':
			if open--; open == 0 {
				return i + 1
			}
		}
	}
	return i
}

// members iterates over the members of an object.
type members struct {
	b []byte
	i int
}

// membersOf starts at the object at i.
func membersOf(b []byte, i int) members { return members{b: b, i: i + 1} }

// next returns the next member's name, in its quotes, and stops at its value. The caller must set m.i behind the
// value. ok is false at the end.
func (m *members) next() (name []byte, ok bool) {
	i := skipSpace(m.b, m.i)
	if i < len(m.b) && m.b[i] == ',' {
		i = skipSpace(m.b, i+1)
	}
	if i >= len(m.b) || m.b[i] != '"' {
		return nil, false
	}
	end := skipString(m.b, i)
	name = m.b[i:end]
	m.i = skipSpace(m.b, skipSpace(m.b, end)+1) // over the colon
	return name, true
}

// each yields the remaining members: the name in its quotes, and the value.
func (m members) each(yield func(quoted, value []byte) bool) {
	for {
		quoted, ok := m.next()
		if !ok {
			return
		}
		start := m.i
		m.i = skipValue(m.b, start)
		if !yield(quoted, m.b[start:m.i]) {
			return
		}
	}
}

// elements iterates over the elements of an array.
type elements struct {
	b []byte
	i int
}

// elementsOf starts at the array at i.
func elementsOf(b []byte, i int) elements { return elements{b: b, i: i + 1} }

// next stops at the next element. The caller must set e.i behind it. ok is false at the end.
func (e *elements) next() (start int, ok bool) {
	i := skipSpace(e.b, e.i)
	if i < len(e.b) && e.b[i] == ',' {
		i = skipSpace(e.b, i+1)
	}
	if i >= len(e.b) || e.b[i] == ']' {
		return 0, false
	}
	return i, true
}

// each yields the remaining elements.
func (e elements) each(yield func(element []byte) bool) {
	for {
		start, ok := e.next()
		if !ok {
			return
		}
		e.i = skipValue(e.b, start)
		if !yield(e.b[start:e.i]) {
			return
		}
	}
}

// isNumber reports whether the valid JSON value is a number.
func isNumber(value []byte) bool { return startsNumber(value[0]) }

func startsNumber(first byte) bool { return first == '-' || isDigit(first) }
