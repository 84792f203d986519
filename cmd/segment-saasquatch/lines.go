package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

var errLineTooLong = errors.New("line too long")

// lineReader reads lines of up to maxLine bytes and passes over blank ones.
type lineReader struct {
	in  *bufio.Reader
	buf []byte
}

// next returns the next line without its end, valid until the next call. A line
// that is too long is read to its end and yields errLineTooLong.
func (r *lineReader) next() ([]byte, error) {
	for {
		line, err := r.read()
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(line)) > 0 {
			return line, nil
		}
	}
}

func (r *lineReader) read() ([]byte, error) {
	r.buf = r.buf[:0]
	tooLong := false
	for read := false; ; read = true {
		part, err := r.in.ReadSlice('\n')
		if len(r.buf)+len(part) > maxLine+len("\r\n") {
			tooLong = true
			r.buf = r.buf[:0]
		} else if !tooLong {
			r.buf = append(r.buf, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(part) == 0 && !read:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		}
		line := bytes.TrimSuffix(bytes.TrimSuffix(r.buf, []byte("\n")), []byte("\r"))
		if tooLong || len(line) > maxLine {
			return nil, errLineTooLong
		}
		return line, nil
	}
}
