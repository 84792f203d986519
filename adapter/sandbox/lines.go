package sandbox

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// lineReader splits a file into lines. A line feed ends each line; it may be missing after the last.
type lineReader struct {
	from *bufio.Reader
	line []byte // a line longer than the buffer of from
}

func newLineReader(from io.Reader) *lineReader {
	return &lineReader{from: bufio.NewReaderSize(from, 64<<10)}
}

// next returns the next line without its end, or io.EOF. The line is valid until the next call. A line longer than
// [maxLine] is cut behind that limit.
func (l *lineReader) next() ([]byte, error) {
	part, err := l.from.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return endLine(part, err)
	}
	l.line = l.line[:0]
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(l.line) <= maxLine {
			l.line = append(l.line, part...)
		}
		part, err = l.from.ReadSlice('\n')
	}
	if len(l.line) <= maxLine {
		l.line = append(l.line, part...)
	}
	return endLine(l.line, err)
}

// endLine removes the line feed. It drops io.EOF if a line stands before the end of the file.
func endLine(line []byte, err error) ([]byte, error) {
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	return bytes.TrimSuffix(line, []byte("\n")), err
}

// lineCounter is a writer that counts lines as [lineReader] splits them.
type lineCounter struct {
	ends  int
	size  int64
	first byte // first byte that is not white space of JSON
	last  byte
}

func (c *lineCounter) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.ends += bytes.Count(b, []byte("\n"))
	c.size += int64(len(b))
	c.last = b[len(b)-1]
	if rest := bytes.TrimLeft(b, " \t\r\n"); c.first == 0 && len(rest) > 0 {
		c.first = rest[0]
	}
	return len(b), nil
}

func (c *lineCounter) lines() int {
	if c.size > 0 && c.last != '\n' {
		return c.ends + 1
	}
	return c.ends
}
