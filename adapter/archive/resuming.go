package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// reopenings bounds how often an object of a bucket is opened again where its body broke off,
	// before it counts as unreadable. The clouds' clients retry an opening, but not a body.
	reopenings = 3
	// firstPause is the wait before the first reopening. It doubles before each further one.
	firstPause = 200 * time.Millisecond
	// stallTimeout is the time without a byte after which an object is opened again.
	stallTimeout = time.Minute
)

var errStalled = errors.New("nothing came for " + stallTimeout.String())

// resuming reads the stored bytes of an object of a bucket. If the body breaks off, it opens the
// object again at that offset.
type resuming struct {
	ctx    context.Context
	cloud  cloud
	object Object
	offset int64
	tries  int
	whole  bool // the bytes are those that are stored, so an offset means something

	body   io.ReadCloser // nil if it has to be opened
	opened context.Context
	cancel context.CancelCauseFunc
	stall  *time.Timer
}

func newResuming(ctx context.Context, from cloud, o Object) (io.ReadCloser, error) {
	r := &resuming{ctx: ctx, cloud: from, object: o}
	if err := r.reopen(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *resuming) Read(p []byte) (int, error) {
	for {
		n, err := r.read(p)
		r.offset += int64(n)
		switch {
		case n > 0:
			return n, nil
		case err == io.EOF && r.whole && r.offset < r.object.Size:
			err = io.ErrUnexpectedEOF
		case err == nil, err == io.EOF:
			return 0, err
		}
		_ = r.Close()
		if err := r.pause(err); err != nil {
			return 0, err
		}
	}
}

func (r *resuming) read(p []byte) (int, error) {
	if r.body == nil {
		if err := r.reopen(); err != nil {
			return 0, err
		}
	}
	r.stall.Reset(stallTimeout)
	n, err := r.body.Read(p)
	r.stall.Stop()
	return n, r.explain(err)
}

// explain returns the error of a body: the stall, if that is why the body was abandoned.
func (r *resuming) explain(err error) error {
	if err != nil && err != io.EOF && r.ctx.Err() == nil && context.Cause(r.opened) == errStalled {
		return errStalled
	}
	return err
}

// pause waits before the next reopening. It returns an error if there is none.
func (r *resuming) pause(cause error) error {
	if !r.whole || r.tries == reopenings || isLasting(cause) || r.ctx.Err() != nil {
		return fmt.Errorf("after %d bytes: %w", r.offset, cause)
	}
	timer := time.NewTimer(firstPause << r.tries)
	defer timer.Stop()
	r.tries++
	select {
	case <-timer.C:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

func (r *resuming) reopen() error {
	r.opened, r.cancel = context.WithCancelCause(r.ctx)
	cancel := r.cancel
	r.stall = time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	now, err := r.cloud.read(r.opened, r.object.name, r.offset)
	r.stall.Stop()
	if err != nil {
		err = r.explain(err)
		r.cancel(nil)
		return err
	}
	r.body = now.body
	// A server may omit the size.
	r.whole = now.size == r.object.Size
	if !now.is(identity{r.object.tag, r.object.Size, r.object.modified}) {
		_ = r.Close() // the error is that it has changed
		return ErrChanged
	}
	return nil
}

func (r *resuming) Close() error {
	if r.body == nil {
		return nil
	}
	r.stall.Stop()
	r.cancel(nil)
	err := r.body.Close()
	r.body = nil
	return err
}
