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

// Blocks are the lines of an archive, as [archive.Reader] yields them. The error
// behind the last is io.EOF.
type Blocks interface {
	Next() (*archive.Block, error)
	// Stop has a Next that waits return with an error.
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
	// When it was made, of identify calls only.
	millis int64
	timed  bool
	// denies says that the event denies a category of consent.
	denies bool
	// traits are those of an identify call, if the calls of a user are merged.
	traits []byte
	// chosen is the choice for which an identify call is sent, nil if none was made.
	chosen *choice
	// call is the identity of an identify call, if the calls of a user are merged.
	call int64
	// identity tells an upsert of merged traits from the call that brought the newest
	// of them, which live traffic may have delivered. 0 for all other events.
	identity int64
}

// isSent reports whether the event is one to send.
func (e *event) isSent() bool {
	return e.mapped.Kind == mapping.KindUserEvent || e.mapped.Kind == mapping.KindUserUpsert
}

// skipped is a line that is.
type skipped struct {
	line   int64
	reason mapping.Reason
}

// mappedBlock is what the mapping makes of a block.
type mappedBlock struct {
	*archive.Block
	events  []event
	skipped []skipped
	lines   int64 // those with something in them
	// choices are the identify calls to send among the lines up to seen.
	choices []choice
	seen    int64
}

// last is the number of the block's last line.
func (b *mappedBlock) last() int64 { return b.FirstLine + b.Count - 1 }

// mapped is a block on its way through a worker.
type mapped struct {
	block *mappedBlock
	done  chan struct{}
}

// pipeline maps blocks on all processors and hands them on in their order.
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

// run calls take with each block, until the last or the first error, or until ctx ends,
// which ends the evaluation of expressions too. Take must not keep the block.
func (p *pipeline) run(ctx context.Context, take func(context.Context, *mappedBlock) error) error {
	ctx, cancel := context.WithCancel(ctx)
	p.done = ctx.Done()
	workers := runtime.GOMAXPROCS(0)
	work := make(chan mapped, workers)
	inOrder := make(chan mapped, 2*workers)
	var reading, working sync.WaitGroup
	var readErr error
	reading.Go(func() {
		defer close(inOrder)
		defer close(work)
		readErr = p.read(ctx, work, inOrder)
	})
	for range workers {
		working.Go(func() {
			for m := range work {
				p.mapBlock(m.block)
				close(m.done)
			}
		})
	}
	var err error
	for m := range inOrder {
		<-m.done
		if err == nil {
			// Before take, since a block that was mapped when ctx ended may lack events.
			if err = ctx.Err(); err == nil {
				err = take(ctx, m.block)
			}
			if err != nil {
				// And go on to the end, so that nobody is left waiting.
				cancel()
				p.blocks.Stop()
			}
		}
		m.block.free()
	}
	cancel()
	reading.Wait()
	working.Wait()
	if err == nil {
		err = readErr
	}
	return err
}

// read reads the blocks, in their order.
func (p *pipeline) read(ctx context.Context, work, inOrder chan<- mapped) error {
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
		m := mapped{block: newMappedBlock(block), done: make(chan struct{})}
		if p.chosen != nil {
			if m.block.choices, m.block.seen, err = p.chosen.of(m.block); err != nil {
				m.block.free()
				return err
			}
		}
		inOrder <- m
		work <- m
	}
}

var mappedBlocks = sync.Pool{New: func() any { return new(mappedBlock) }}

func newMappedBlock(block *archive.Block) *mappedBlock {
	b := mappedBlocks.Get().(*mappedBlock)
	b.Block = block
	return b
}

func (b *mappedBlock) free() {
	b.Release()
	clear(b.events)
	*b = mappedBlock{events: b.events[:0], skipped: b.skipped[:0]}
	mappedBlocks.Put(b)
}

// mapBlock maps the lines of a block, up to the one at which the run's context ends.
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
		b.lines++
		e = event{line: line.Number, text: line.Text}
		if line.TooLong {
			e.mapped = mapping.Result{Kind: mapping.KindReject, Reason: mapping.RejectInvalidJSON, Detail: "the line is longer than 10 MiB"}
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

// mapLine maps a line. A panic costs the other lines nothing.
func (p *pipeline) mapLine(text []byte, selects mapping.Selector) (result mapping.Result) {
	defer func() {
		if cause := recover(); cause != nil {
			result = mapping.Result{Kind: mapping.KindReject, Reason: mapping.ReasonInternalError, Detail: "a fault of this program; its log has the details"}
			p.panicked(cause, debug.Stack())
		}
	}()
	return p.mapper.MapWith(text, p.now, mapping.Options{Selects: selects, Done: p.done})
}
