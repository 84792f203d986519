package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"
)

const (
	// aheadBytes bounds the blocks that wait for the consumer, of all objects
	// together. The more of an object waits, the more of it is unpacked beside the
	// one before.
	aheadBytes = 20 << 20
	// leastAhead is how many blocks of an object wait at least.
	leastAhead = 3
	// bucketAhead is how many objects of a bucket are read at once at least: their
	// time goes into waiting.
	bucketAhead = 8
	// mostAhead bounds the default of how many objects are read at once.
	mostAhead = 16
	// closeTimeout bounds how long Close waits.
	closeTimeout = 10 * time.Second
)

// ErrStillReading is returned by Close if the file system does not answer.
var ErrStillReading = errors.New("an object is still being read")

// ReadOptions sets how an archive is read.
type ReadOptions struct {
	// Resume tells up to which line an object has been dealt with, 0 for none, and
	// whether it is done: then it is not opened, and no block comes of it. It is
	// asked for each object, in their order, while objects before it are still being
	// read. Lines up to afterLine are read but left out. Whether it is still the same
	// object, its Version tells. An object that turns out to have entries instead of
	// lines is asked for once more, with [OfEntries] behind its Version, and possibly
	// by several goroutines at once. Default: every object from its start.
	Resume func(o Object) (afterLine int64, done bool)
	// Prompt has a block come as soon as it has a line and nothing more has come to
	// read, for lines that a person types. Default: blocks are full.
	Prompt bool
	// Ahead is how many objects are open at once, the one being consumed included.
	// Default: GOMAXPROCS, at least 8 for buckets, at most 16.
	Ahead int
}

// Reader reads the objects of an archive ahead of its consumer, several at once. A
// block comes when it is full or its object ends, so lines that trickle through a
// pipe are held back until they fill one, unless they are to come promptly.
//
// Besides those that the consumer holds, the blocks of all objects come to 20 MiB, or
// with more than 20 objects at once to 1 MiB an object. A block with a line of more
// than BlockSize is as large as that line, and up to three times that while its buffer
// grows. Unpacking takes about 128 KiB an object, of zstd up to 17 MiB with windows of
// 8 MiB.
type Reader struct {
	ctx     context.Context
	cancel  context.CancelFunc
	queue   chan *stream // in the order of objects
	slots   chan struct{}
	running sync.WaitGroup

	current *stream
	done    error
}

// Read starts to read all objects. The reader has to be closed. Its methods are for
// one goroutine.
func (a *Archive) Read(ctx context.Context, o ReadOptions) *Reader {
	if o.Ahead <= 0 {
		o.Ahead = min(runtime.GOMAXPROCS(0), mostAhead)
		if len(a.buckets) > 0 {
			o.Ahead = max(o.Ahead, bucketAhead)
		}
	}
	if o.Resume == nil {
		o.Resume = func(Object) (int64, bool) { return 0, false }
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &Reader{ctx: ctx, cancel: cancel, queue: make(chan *stream, o.Ahead), slots: make(chan struct{}, o.Ahead)}
	r.running.Go(func() { r.start(a, o) })
	return r
}

// start lists the objects and starts to read each as soon as there is a slot. An
// object has its slot until the consumer has its last block.
func (r *Reader) start(a *Archive, o ReadOptions) {
	defer close(r.queue)
	room := max(leastAhead, aheadBytes/BlockSize/o.Ahead-1) // one more is in hand
	for object, err := range a.Objects(r.ctx) {
		if err != nil {
			r.enqueue(&stream{err: err})
			return
		}
		after, done := o.Resume(object)
		if done {
			continue
		}
		s := &stream{object: object, after: after, prompt: o.Prompt, resume: o.Resume, blocks: make(chan *Block, room)}
		if !r.enqueue(s) {
			return
		}
		r.running.Go(func() { s.read(r.ctx) })
	}
}

func (r *Reader) enqueue(s *stream) bool {
	select {
	case r.slots <- struct{}{}:
		r.queue <- s // has as much room as there are slots
		return true
	case <-r.ctx.Done():
		return false
	}
}

// Next returns the next block: the objects in the order of the archive, their lines
// in order. It returns io.EOF behind the last object, the context's error when that
// has ended, and otherwise what was wrong with the listing, behind which nothing
// comes. What is wrong with one object is in its last block.
func (r *Reader) Next() (*Block, error) {
	if r.done == nil {
		b, err := r.next()
		if err == nil {
			return b, nil
		}
		r.done = err
	}
	return nil, r.done
}

func (r *Reader) next() (*Block, error) {
	if r.current == nil {
		select {
		case s, ok := <-r.queue:
			switch {
			case r.ctx.Err() != nil:
				return nil, r.ctx.Err()
			case !ok:
				return nil, io.EOF
			case s.err != nil:
				return nil, s.err
			}
			r.current = s
		case <-r.ctx.Done():
			return nil, r.ctx.Err()
		}
	}
	select {
	case b := <-r.current.blocks:
		if b.End {
			r.current = nil
			<-r.slots
		}
		return b, nil
	case <-r.ctx.Done():
		return nil, r.ctx.Err()
	}
}

// Stop stops all reading and waits for nothing. Next returns the context's error
// from then on. It may be called beside Next, unlike the other methods.
func (r *Reader) Stop() { r.cancel() }

// Close stops all reading and waits for it, 10 seconds at most. Next returns the
// context's error from then on. A read from standard input that is waiting for data
// is left behind.
func (r *Reader) Close() error {
	r.cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.running.Wait()
	}()
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-stopped:
		return nil
	case <-timer.C:
		return fmt.Errorf("close archive: %w after %v", ErrStillReading, closeTimeout)
	}
}
