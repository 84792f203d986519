package replay

import (
	"context"
	"errors"
	"io"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/mapping"
)

// Blocks are the lines of an archive, as [archive.Reader] yields them. After the last, Next returns io.EOF.
type Blocks interface {
	Next() (*archive.Block, error)
	// Stop makes a waiting Next return an error.
	Stop()
}

// Mapper maps an event, as [mapping.Mapper] does. It is safe for concurrent use.
type Mapper interface {
	MapWith(event []byte, now time.Time, opts mapping.Options) mapping.Result
}

// event is a line that is not skipped.
type event struct {
	line   int64
	text   []byte // valid until the block is released
	mapped mapping.Result
	// millis is the time of an identify call; timed is false if it has none.
	millis int64
	timed  bool
	// denies means that the event denies a category of consent.
	denies bool
	// traits and call are the traits and the identity of an identify call, if the calls of a user are merged.
	traits []byte
	call   int64
	// chosen is the choice for this identify call, nil if none was made.
	chosen *choice
	// identity tells an upsert of merged traits from the newest call by itself, which live traffic may have
	// delivered. It is 0 for all other events.
	identity int64
}

func (e *event) isSent() bool {
	return e.mapped.Kind == mapping.KindUserEvent || e.mapped.Kind == mapping.KindUserUpsert
}

type skipped struct {
	line   int64
	reason mapping.Reason
}

// mappedBlock is a block and what the mapping makes of its lines.
type mappedBlock struct {
	*archive.Block
	events  []event
	skipped []skipped
	// choices are the identify calls to send among the lines up to seen.
	choices []choice
	seen    int64
	done    chan struct{} // closed when the block is mapped
}

func (b *mappedBlock) last() int64 { return b.FirstLine + b.Count - 1 }

// fault returns why reading the object fails at the end of this block, empty if it does not.
func (b *mappedBlock) fault() string {
	if b.Err == nil {
		return ""
	}
	return b.Err.Error()
}

// errLimit ends a pipeline without an error: the limit is reached.
var errLimit = errors.New("the limit is reached")

// pipeline maps blocks on all processors and passes them on in their order.
type pipeline struct {
	blocks  Blocks
	mapper  Mapper
	selects mapping.Selector
	// now is the time of the mapping's time window, zero for none.
	now      time.Time
	panicked delivery.PanicFunc
	// chosen are the identify calls to send. Default: all.
	chosen *Chosen
	// gathers keeps the traits of identify calls.
	gathers bool
	// denials marks the events that deny a category of consent.
	denials bool
	done    <-chan struct{} // of the run's context
}

// run calls take with each block until the last block or the first error. The end of ctx is an error, and it stops
// expressions too. Take must not keep the block.
func (p *pipeline) run(ctx context.Context, take func(context.Context, *mappedBlock) error) error {
	ctx, cancel := context.WithCancel(ctx)
	p.done = ctx.Done()
	workers := runtime.GOMAXPROCS(0)
	work := make(chan *mappedBlock, workers)
	inOrder := make(chan *mappedBlock, 2*workers)
	var running sync.WaitGroup
	var readErr error
	running.Go(func() {
		defer close(inOrder)
		defer close(work)
		readErr = p.read(ctx, work, inOrder)
	})
	for range workers {
		running.Go(func() {
			for b := range work {
				p.mapBlock(b)
				close(b.done)
			}
		})
	}
	var err error
	for b := range inOrder {
		<-b.done
		if err == nil {
			// Before take, because a block that was mapped when ctx ended may lack events.
			if err = ctx.Err(); err == nil {
				err = take(ctx, b)
			}
			if err != nil { // the loop goes on, so that no goroutine blocks
				cancel()
				p.blocks.Stop()
			}
		}
		b.free()
	}
	cancel()
	running.Wait()
	switch {
	case err == nil:
		return readErr
	case errors.Is(err, errLimit):
		return nil
	}
	return err
}

func (p *pipeline) read(ctx context.Context, work, inOrder chan<- *mappedBlock) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		block, err := p.blocks.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		b := mappedBlocks.Get().(*mappedBlock)
		b.Block, b.done = block, make(chan struct{})
		if p.chosen != nil {
			if b.choices, b.seen, err = p.chosen.of(b); err != nil {
				b.free()
				return err
			}
		}
		inOrder <- b
		work <- b
	}
}

var mappedBlocks = sync.Pool{New: func() any { return new(mappedBlock) }}

func (b *mappedBlock) free() {
	b.Release()
	clear(b.events)
	*b = mappedBlock{events: b.events[:0], skipped: b.skipped[:0]}
	mappedBlocks.Put(b)
}

// mapBlock maps the lines of a block, until the run's context ends.
func (p *pipeline) mapBlock(b *mappedBlock) {
	var e event
	selects := func(c *mapping.Call) (mapping.Kind, mapping.Reason, string) {
		if c.IsIdentify() {
			e.millis, e.timed = c.Time()
			if p.gathers || p.chosen != nil {
				e.traits = c.Traits()
			}
			if p.chosen != nil {
				e.call = c.Identity()
			}
		}
		kind, reason, detail := p.selects(c)
		if kind == 0 && p.denials {
			e.denies = c.DeniesConsent(nil)
		}
		return kind, reason, detail
	}
	for line := range b.Lines() {
		e = event{line: line.Number, text: line.Text}
		if line.TooLong {
			e.mapped = mapping.Result{
				Kind: mapping.KindReject, Reason: mapping.RejectInvalidJSON, Detail: "the line is longer than 10 MiB",
			}
		} else {
			e.mapped = p.mapLine(line.Text, selects)
		}
		if p.chosen != nil && e.mapped.Kind == mapping.KindUserUpsert {
			p.choose(b, &e)
		}
		if e.mapped.Kind == mapping.KindUnfinished {
			return
		}
		if e.mapped.Kind == mapping.KindSkip {
			b.skipped = append(b.skipped, skipped{line.Number, e.mapped.Reason})
			continue
		}
		b.events = append(b.events, e)
	}
}

// mapLine maps a line. A panic rejects this line only.
func (p *pipeline) mapLine(text []byte, selects mapping.Selector) (result mapping.Result) {
	defer func() {
		if cause := recover(); cause != nil {
			result = mapping.Result{
				Kind: mapping.KindReject, Reason: mapping.ReasonInternalError,
				Detail: "a fault of this program; its log has the details",
			}
			p.panicked(cause, debug.Stack())
		}
	}()
	return p.mapper.MapWith(text, p.now, mapping.Options{Selects: selects, Done: p.done})
}
