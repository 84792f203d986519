package archive

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// values finds the entries of a text of JSON values: the objects in arrays, and objects that stand
// alone, on one line or several. Only brackets and strings decide where an entry ends; the mapping
// decides whether it is an event, or JSON at all. Between entries stand blanks, commas, record
// separators, byte order marks and the brackets of arrays. Any other text there is an entry too,
// up to the next one.
//
// # Damage
//
// A value is broken where its brackets and strings cannot be those of JSON: a line ends within a
// string, a letter or another string follows a string, or an object or array begins where none
// may. The broken part is one entry. Scanning continues at the first of these places after the
// start of the value:
//
//   - a line that is indented no more than the value's first line and begins with a bracket: a }
//     still belongs to the broken value, an opening one begins the next;
//   - a record separator;
//   - within the line of a value that is not the first on its line, as in an array on one line:
//     an opening brace after a closing one;
//   - the very object that begins where none may, in such a line.
//
// So a value on lines of its own stays whole, whatever the lines before it lack. A value that is
// too long is left out up to its end. An array or value that is not closed at the end of the text
// is ErrTruncated.
//
// The sizes of the reads make no difference to the entries.
type values struct {
	text   io.Reader
	buffer []byte
	from   int   // where the entry begins in buffer
	at     int   // the next byte to look at
	base   int64 // how much text came before buffer
	ended  error // what the text ended with

	arrays int  // how many are open
	indent int  // of the line, in bytes
	fresh  bool // only blanks have come on the line so far
	long   bool // the entry is too long, and its start has been dropped

	retraced int64 // how many bytes were looked at again
	open     brackets
}

func newValues(text io.Reader) *values { return &values{text: text, fresh: true} }

// offset returns the number of bytes of the text that have been scanned.
func (v *values) offset() int64 { return v.base + int64(v.at) }

// drained reports whether no entry begins in the bytes that have been read.
func (v *values) drained() bool {
	for _, c := range v.buffer[v.at:] {
		if !isBlankByte(c) && c != ',' && c != ']' && c != recordSeparator {
			return false
		}
	}
	return true
}

// next returns the next entry as one line, valid until the next call. It returns nil if the entry
// is longer than MaxLine. The error after the last entry is io.EOF, or the error of the text.
func (v *values) next() (entry []byte, err error) {
	for {
		v.from = v.at
		c, err := v.peek()
		if err != nil {
			if err == io.EOF && v.arrays > 0 {
				err = fmt.Errorf("%w: its array is not closed", ErrTruncated)
			}
			return nil, err
		}
		switch {
		case isBlankByte(c):
			v.blank(c)
		case c == ',':
			v.fresh = false
		case c == recordSeparator:
		case c == byteOrderMark[0] && v.has(byteOrderMark): // files one behind another
			v.at += len(byteOrderMark) - 1
		case c == '[':
			v.arrays++
			v.fresh = false
		case c == ']' && v.arrays > 0:
			v.arrays--
			v.fresh = false
		case c == '{', c == '"' && v.arrays > 0:
			if err := v.value(); err != nil {
				return nil, err
			}
			return v.entry(), nil
		default:
			v.garbage()
			return v.entry(), nil
		}
		v.at++
	}
}

// entry returns the text from from to at as one line. Outside of strings a tab means the same as
// the end of a line; within them neither is JSON.
func (v *values) entry() []byte {
	if v.long {
		v.long = false
		return nil
	}
	text := bytes.TrimRight(v.buffer[v.from:v.at], ", \t\r\n")
	for i, c := range text {
		if c == '\n' || c == '\r' {
			text[i] = '\t'
		}
	}
	return text
}

// peek returns the current byte.
func (v *values) peek() (byte, error) {
	if v.at == len(v.buffer) {
		if err := v.more(); err != nil {
			return 0, err
		}
	}
	return v.buffer[v.at], nil
}

// has reports whether the text continues with those bytes.
func (v *values) has(prefix []byte) bool {
	for len(v.buffer)-v.at < len(prefix) {
		if v.more() != nil {
			return false
		}
	}
	return bytes.HasPrefix(v.buffer[v.at:], prefix)
}

// more reads more of the text.
func (v *values) more() error {
	if v.from > 0 {
		n := copy(v.buffer, v.buffer[v.from:])
		v.base += int64(v.from)
		v.buffer, v.at, v.from = v.buffer[:n], v.at-v.from, 0
	}
	for v.ended == nil {
		if len(v.buffer) == cap(v.buffer) {
			v.buffer = slices.Grow(v.buffer, max(BlockSize, len(v.buffer)))
		}
		n, err := v.text.Read(v.buffer[len(v.buffer):cap(v.buffer)])
		v.buffer, v.ended = v.buffer[:len(v.buffer)+n], err
		if n > 0 {
			return nil
		}
	}
	return v.ended
}

// blank accounts for a blank.
func (v *values) blank(c byte) {
	switch {
	case c == '\n':
		v.indent, v.fresh = 0, true
	case v.fresh:
		v.indent++
	}
}

// garbage scans to the end of the text between two values.
func (v *values) garbage() {
	for {
		v.fresh = false
		v.at++
		for v.at < len(v.buffer) && isBlankByte(v.buffer[v.at]) {
			v.blank(v.buffer[v.at])
			v.at++
		}
		v.dropLong()
		c, err := v.peek()
		switch {
		case err != nil, c == '{', c == '[', c == recordSeparator:
			return
		case v.arrays > 0 && (c == ',' || c == ']'):
			return
		}
	}
}

// dropLong drops the start of an entry that has become too long.
func (v *values) dropLong() {
	if v.long = v.long || v.at-v.from > MaxLine; v.long {
		v.from = v.at
	}
}
