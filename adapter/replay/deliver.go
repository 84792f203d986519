package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
)

// Options are the choices of a replay, beside its Spec.
type Options struct {
	Mapper Mapper
	// Where is the compiled Filter.Where, nil without one.
	Where Condition
	// Now is the clock. Default: that of an [adapter.Clock].
	Now func() time.Time
	// Rate is how many events are handed over for delivery in a second, 0 for any
	// number. Default: 0.
	Rate float64
	// Window is how many events may be due for delivery, or under way, at once.
	// Default: 512.
	Window int
	// Chosen are the identify calls to send, nil for all that the filter picks.
	Chosen *Chosen
	// Ledger is where the replay looks for what was delivered, and for profiles newer
	// than those of Chosen; nil for nowhere.
	Ledger *LookUp
	// Memory bounds the identify calls that are kept in memory to choose among them, in
	// bytes. Default: 32 MiB.
	Memory int
	// Dir is where those beyond Memory are kept. Default: the system's directory for
	// temporary files.
	Dir string
	// Failed is told of the text of each event that a dry run finds to be rejected, in
	// their order. Default: nobody is told.
	Failed func(text []byte) error
	// Users is told whose events were read. Default: none is told.
	Users *UserMatches
	// Progress is kept up to date. Default: nobody looks.
	Progress *Progress
	// OnPanic is told of panics in the mapping. Default: nobody is told.
	OnPanic delivery.PanicFunc
}

const (
	defaultWindow = 512
	defaultMemory = 32 << 20
)

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = adapter.NewClock(adapter.ClockOptions{}).Now
	}
	if o.Window <= 0 {
		o.Window = defaultWindow
	}
	if o.Memory <= 0 {
		o.Memory = defaultMemory
	}
	if o.Progress == nil {
		o.Progress = &Progress{}
	}
	if o.OnPanic == nil {
		o.OnPanic = func(any, []byte) {}
	}
	return o
}

// newPipeline returns the way from blocks to mapped blocks.
func (o *Options) newPipeline(spec *Spec, blocks Blocks) *pipeline {
	selects := spec.Filter.Selector(o.Where)
	if spec.Identify == IdentifyNone {
		selects = withoutIdentify(selects)
	}
	p := &pipeline{
		blocks: blocks, mapper: o.Mapper, selects: o.Users.marking(selects), panicked: o.OnPanic,
		chosen: o.Chosen, denials: len(spec.Filter.Consent) == 0,
	}
	if !spec.AnyAge {
		p.now = o.Now()
	}
	return p
}

// errLimit ends the reading when there are events enough.
var errLimit = errors.New("the limit is reached")

// storing puts what is read into a store.
type storing struct {
	Options
	replays adapter.RunStore
	run     *adapter.Run
	spec    *Spec
	held    bool
	counts  *Counts
	// room returns how many events may be stored now, and took is told how many were.
	room func(context.Context) (int, error)
	took func(ctx context.Context, events int) error
	// size is told the size of each event that was stored. Default: nobody is told.
	size  func(bytes int)
	stdin *stdin

	sent int64 // so far, for the limit
}

// Deliver reads the blocks of a run, which has come so far with its objects, and
// puts their events into the store's queue, from which a dispatcher delivers them.
// When there is nothing more to read it ends the run and waits until every event
// has its outcome. If ctx ends before that, it returns the error of ctx, and the
// run can be resumed.
func Deliver(ctx context.Context, replays adapter.RunStore, run *adapter.Run, objects []adapter.ObjectProgress, blocks Blocks, opts Options) error {
	spec, err := ParseSpec(run.Spec)
	if err != nil {
		return err
	}
	opts = opts.withDefaults()
	a := &admission{
		replays: replays, run: run, window: int64(opts.Window), rate: newRate(opts.Rate), waiting: opts.Progress.waiting,
		state: func(state *adapter.RunState) { opts.Progress.update(func(s *Snapshot) { s.Outcomes = state.Outcomes }) },
	}
	s := &storing{Options: opts, replays: replays, run: run, spec: spec, room: a.await, took: a.took, stdin: newStdin(objects)}
	if err := s.read(ctx, blocks); err != nil {
		return err
	}
	return awaitOutcomes(ctx, replays, run, opts.Progress)
}

// read stores all that the blocks have.
func (s *storing) read(ctx context.Context, blocks Blocks) (err error) {
	if s.counts, err = parseCounts(s.run.Progress); err != nil {
		return err
	}
	s.sent = sent(s.run.Outcomes)
	if !s.limitReached() {
		err = s.newPipeline(s.spec, blocks).run(ctx, s.take)
		if err != nil && !errors.Is(err, errLimit) {
			return err
		}
	}
	return retry(ctx, s.Progress, func() error { return s.replays.EndRun(ctx, s.run) })
}

func (s *storing) limitReached() bool { return s.spec.Limit > 0 && s.sent >= s.spec.Limit }

// take stores a block, a batch at a time.
func (s *storing) take(ctx context.Context, b *mappedBlock) error {
	s.Progress.update(func(snapshot *Snapshot) { snapshot.Object = b.Object.Key })
	if err := retry(ctx, s.Progress, func() error { return s.supersede(ctx, b) }); err != nil {
		return err
	}
	at := place{line: b.FirstLine - 1}
	if b.Object.Key == stdinKey {
		line, err := s.stdin.skip(b)
		if err != nil {
			return err
		}
		at = b.from(line)
		if at.line == b.last() && !b.End {
			return nil
		}
	}
	for {
		room, err := s.roomFor(ctx, b, at)
		if err != nil {
			return err
		}
		batch, next := s.batch(b, at, room)
		if b.Object.Key == stdinKey {
			s.stdin.add(b.Block, at.line, next.line)
			batch.Objects[0].Version = s.stdin.version()
		}
		err = retry(ctx, s.Progress, func() error { return s.replays.AcceptBatch(ctx, s.run, batch) })
		if err != nil {
			return fmt.Errorf("store events of %s up to line %d: %w", b.Object.Key, next.line, err)
		}
		stored := 0
		for i := range batch.Arrivals {
			if batch.Arrivals[i].Outcome == adapter.Pending {
				stored++
				if s.size != nil {
					s.size(len(batch.Arrivals[i].Payload))
				}
			}
		}
		s.sent += int64(stored)
		s.Progress.update(func(snapshot *Snapshot) { snapshot.Counts = *s.counts.clone() })
		if err := s.took(ctx, stored); err != nil {
			return err
		}
		switch {
		case s.limitReached():
			return errLimit
		case next.line == b.last():
			return nil
		}
		at = next
	}
}

// roomFor returns how many events may be stored now.
func (s *storing) roomFor(ctx context.Context, b *mappedBlock, at place) (room int, err error) {
	if at.events == len(b.events) {
		return 0, nil // there is none
	}
	err = retry(ctx, s.Progress, func() (err error) {
		room, err = s.room(ctx)
		return err
	})
	if s.spec.Limit > 0 {
		room = int(min(int64(room), s.spec.Limit-s.sent))
	}
	return room, err
}

// place is how far a block has been stored.
type place struct {
	line            int64 // the last that is done with
	events, skipped int   // how many of each
}

// batch returns what comes next of the block, with room events at most. It ends with
// its last event where the limit may be reached with that: what is behind the limit is
// not read.
func (s *storing) batch(b *mappedBlock, from place, room int) (*adapter.Batch, place) {
	to := place{line: b.last(), events: len(b.events), skipped: len(b.skipped)}
	fitting := s.fitting(b.events[from.events:], room)
	limited := s.spec.Limit > 0 && fitting > 0 && s.sent+int64(fitting) >= s.spec.Limit
	if limited || fitting < len(b.events)-from.events {
		to.events = from.events + fitting
		to.line = b.events[to.events-1].line
		to.skipped = from.skipped
		for to.skipped < len(b.skipped) && b.skipped[to.skipped].line < to.line {
			to.skipped++
		}
	}
	counted := make(tallies)
	for _, line := range b.skipped[from.skipped:to.skipped] {
		counted.add(adapter.Skipped, line.reason, 1)
	}
	batch := &adapter.Batch{
		Held:     s.held,
		Arrivals: make([]adapter.Arrival, 0, to.events-from.events),
		Tallies:  counted.list(),
		Objects:  []adapter.ObjectProgress{{Object: b.Object.Key, Version: b.Object.Version, Lines: to.line}},
	}
	for i := from.events; i < to.events; i++ {
		e := &b.events[i]
		batch.Arrivals = append(batch.Arrivals, e.arrival(e.text))
		if e.isSent() {
			s.counts.add(e)
		}
	}
	s.counts.Lines += int64(to.events - from.events + to.skipped - from.skipped)
	if to.line == b.last() {
		s.counts.read(b)
		if b.End {
			batch.Objects[0].Done = b.Err == nil
			batch.Objects[0].Fault = faultOf(b)
		}
	}
	batch.Progress, _ = json.Marshal(s.counts) // numbers and texts can always be written
	return batch, to
}

// maxBatchBytes bounds what is stored at a time, in bytes of text.
const maxBatchBytes = 8 << 20

// fitting returns how many of the events go into a batch: room at most, and no more
// text than maxBatchBytes beyond the first.
func (s *storing) fitting(events []event, room int) int {
	size := 0
	for i := range events {
		if size += len(events[i].text); i == room || i > 0 && size > maxBatchBytes {
			return i
		}
	}
	return len(events)
}

// faultOf returns why the object ends with this block, empty if it is read to its end.
func faultOf(b *mappedBlock) string {
	if b.Err == nil {
		return ""
	}
	return b.Err.Error()
}

// retryRest is the rest between attempts to reach a store.
var retryRest = adapter.Backoff{Base: 250 * time.Millisecond, Max: 5 * time.Second}

// retry repeats what fails because the store is out of order for the moment.
func retry(ctx context.Context, progress *Progress, do func() error) error {
	for rest := retryRest; ; {
		err := do()
		var unavailable *adapter.UnavailableError
		if !errors.As(err, &unavailable) || ctx.Err() != nil {
			return err
		}
		progress.waiting("the store: " + unavailable.Unavailable())
		if err := adapter.Wait(ctx, rest.Next()); err != nil {
			return err
		}
		progress.waiting("")
	}
}

// outcomeInterval is how often the store is asked whether all events have their
// outcomes.
const outcomeInterval = 100 * time.Millisecond

// awaitOutcomes waits until no event of the run is pending.
func awaitOutcomes(ctx context.Context, replays adapter.RunStore, run *adapter.Run, progress *Progress) error {
	for {
		var state *adapter.RunState
		err := retry(ctx, progress, func() (err error) {
			state, err = replays.RunState(ctx, run)
			return err
		})
		if err != nil {
			return err
		}
		progress.update(func(s *Snapshot) { s.Object, s.Outcomes = "", state.Outcomes })
		switch {
		case state.Pending == 0:
			progress.waiting("")
			return nil
		case state.Due > 0:
			progress.waiting(waitingForRoom)
		default:
			progress.waiting(waitingForTime)
		}
		if err := adapter.Wait(ctx, outcomeInterval); err != nil {
			return err
		}
	}
}
