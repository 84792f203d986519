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
	// aheadBytes bounds the blocks that wait for the consumer, over all objects. The more blocks of an
	// object wait, the more of it is decompressed while the one before is consumed.
	aheadBytes = 20 << 20
	// leastAhead is the least number of blocks of an object that can wait.
	leastAhead = 3
	// bucketAhead is the least default of objects of a bucket that are read at once. Their time is
	// mostly waiting.
	bucketAhead = 8
	// mostAhead bounds the default of objects that are read at once.
	mostAhead = 16
	// closeTimeout bounds the time that Close waits.
	closeTimeout = 10 * time.Second
)

// ErrStillReading is the error of Close if the file system does not answer.
var ErrStillReading = errors.New("an object is still being read")

// ReadOptions sets how an archive is read.
type ReadOptions struct {
	// Resume returns the line up to which an object has been processed, 0 for none, and whether the
	// object is done. An object that is done is not opened and has no block. Lines up to afterLine are
	// read and left out. The caller compares the Version to know whether it is still the same object.
	//
	// The reader calls Resume for each object in order, while it still reads the objects before. For
	// an object of entries it calls Resume once more, with [OfEntries] at the end of the Version, and
	// possibly from several goroutines at once. Default: every object from its start.
	Resume func(o Object) (afterLine int64, done bool)
	// Prompt returns a block as soon as it has a line and no more input is ready, for lines that a
	// person types. Default: full blocks.
	Prompt bool
	// Ahead is the number of objects that are open at once, including the one that is consumed.
	// Default: GOMAXPROCS, at least 8 for buckets, at most 16.
	Ahead int
}

// Reader reads the objects of an archive ahead of its consumer, several at once. A block comes
// when it is full or its object ends. Lines that trickle through a pipe wait until they fill a
// block, unless Prompt is set.
//
// Besides the blocks that the consumer holds, the blocks of all objects take 20 MiB, or 1 MiB an
// object with more than 20 objects at once. A block with a line of more than BlockSize is as large
// as that line, and up to three times that while its buffer grows. Decompression takes about 128
// KiB an object, and for zstd up to 17 MiB with windows of 8 MiB.
type Reader struct {
	ctx     context.Context
	cancel  context.CancelFunc
	queue   chan *stream // in the order of objects
	slots   chan struct{}
	running sync.WaitGroup

	current *stream
	done    error
}

// Read starts to read all objects. The caller closes the reader. Its methods are for one
// goroutine.
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

// start lists the objects, and starts to read each as soon as there is a slot. An object keeps its
// slot until the consumer has its last block.
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

// Next returns the next block: the objects in the order of the archive, their lines in order. It
// returns io.EOF after the last object, the context's error when that has ended, and otherwise the
// error of the listing, after which nothing comes. The error of one object is in its last block.
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

// Stop stops all reading and does not wait. Next returns the context's error from then on. Unlike
// the other methods, it may be called beside Next.
func (r *Reader) Stop() { r.cancel() }

// Close stops all reading and waits for it, for up to 10 seconds. Next returns the context's error
// from then on. A read from standard input that waits for data is abandoned.
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
