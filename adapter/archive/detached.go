package archive

import (
	"context"
	"io"
)

// detached reads from a source whose reads cannot be interrupted, such as standard input. A read
// in flight when the context ends is abandoned, and its data is lost.
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
