package archive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// storedBuffer is how much is read of an object at once, in bytes as stored.
const storedBuffer = 64 << 10

// content is an object's text: what is stored, or what it unpacks to if it begins
// as gzip does. The name says nothing: clients unpack what is stored with
// Content-Encoding: gzip silently, so that a file ending in .gz may be plain.
type content struct {
	stored   counted
	buffered *bufio.Reader
	unpacked *gzip.Reader
	text     io.Reader // unpacked or buffered
}

// counted counts what is read, and keeps the error that ended it.
type counted struct {
	from io.Reader
	n    int64
	err  error // nil, or other than io.EOF
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

var contents = sync.Pool{New: func() any {
	return &content{buffered: bufio.NewReaderSize(nil, storedBuffer), unpacked: new(gzip.Reader)}
}}

// newContent starts reading an object. It is released when the object's reading has
// ended, with or without an error.
func newContent(from io.Reader) (*content, error) {
	c := contents.Get().(*content)
	c.stored = counted{from: from}
	c.buffered.Reset(&c.stored)
	c.text = c.buffered
	// One byte is enough: no text begins with 0x1f.
	first, err := c.buffered.Peek(1)
	if err != nil || first[0] != 0x1f {
		if err == io.EOF { // an empty object
			err = nil
		}
		return c, err
	}
	if err := c.unpacked.Reset(c.buffered); err != nil {
		return c, c.explain(err)
	}
	c.text = c.unpacked
	return c, nil
}

// Read returns io.EOF at the end of whole content only.
func (c *content) Read(p []byte) (int, error) {
	n, err := c.text.Read(p)
	if err != nil && err != io.EOF {
		err = c.explain(err)
	}
	return n, err
}

// explain tells what reading broke off for: what is stored could not be read, or is
// no whole gzip.
func (c *content) explain(err error) error {
	switch {
	case c.stored.err != nil:
		return c.stored.err
	case errors.Is(err, io.ErrUnexpectedEOF), err == io.EOF:
		return fmt.Errorf("%w, after %d bytes", ErrTruncated, c.stored.n)
	default:
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
}

// taken returns how many of the bytes that are stored have been used.
func (c *content) taken() int64 { return c.stored.n - int64(c.buffered.Buffered()) }

func (c *content) release() {
	c.stored = counted{}
	c.buffered.Reset(nil)
	contents.Put(c)
}

// detached reads from where reading cannot be interrupted, such as standard input.
// A read that is underway when the context ends is left behind, and what it gets is
// lost.
type detached struct {
	ctx    context.Context
	from   io.Reader
	result chan readResult
	buffer []byte
	rest   []byte
	err    error
}

type readResult struct {
	n   int
	err error
}

func newDetached(ctx context.Context, from io.Reader) *detached {
	return &detached{ctx: ctx, from: from, result: make(chan readResult, 1), buffer: make([]byte, storedBuffer)}
}

func (d *detached) Read(p []byte) (int, error) {
	for len(d.rest) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		if err := d.ctx.Err(); err != nil {
			return 0, err
		}
		go func() {
			n, err := d.from.Read(d.buffer)
			d.result <- readResult{n, err}
		}()
		select {
		case r := <-d.result:
			d.rest, d.err = d.buffer[:r.n], r.err
		case <-d.ctx.Done():
			d.err = d.ctx.Err()
		}
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

func (*detached) Close() error { return nil }
