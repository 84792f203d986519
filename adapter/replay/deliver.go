package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"segment-saasquatch/adapter"
)

// Deliver reads the blocks of a run and puts their events into the store's queue, from which a
// dispatcher delivers them. Then it ends the run and waits until every event has its outcome.
// The objects are the run's checkpoints. If ctx ends first, Deliver returns the error of ctx,
// and the run can be resumed.
func Deliver(
	ctx context.Context, runs adapter.RunStore, run *adapter.Run, objects []adapter.ObjectProgress,
	blocks Blocks, opts Options,
) error {
	opts = opts.WithDefaults()
	s := &storing{Options: opts, runs: runs, run: run, stdin: newStdin(objects)}
	s.admission = newQueueAdmission(runs, run, &opts)
	if err := s.read(ctx, blocks); err != nil {
		return err
	}
	return awaitOutcomes(ctx, runs, run, opts.Progress)
}

// Hold reads the blocks of a run as Deliver does, but holds the events in the store for an import
// job. It ends the run when all blocks are stored.
func Hold(
	ctx context.Context, runs adapter.RunStore, run *adapter.Run, objects []adapter.ObjectProgress,
	blocks Blocks, opts Options, admission Admission,
) error {
	s := &storing{Options: opts.WithDefaults(), runs: runs, run: run, stdin: newStdin(objects)}
	s.held, s.admission = true, admission
	return s.read(ctx, blocks)
}

type storing struct {
	Options
	runs      adapter.RunStore
	run       *adapter.Run
	spec      *Spec
	held      bool
	counts    *Counts
	admission Admission
	stdin     *stdin

	sent int64 // so far, for the limit
}

func (s *storing) read(ctx context.Context, blocks Blocks) (err error) {
	if s.spec, err = ParseSpec(s.run.Spec); err != nil {
		return err
	}
	if s.counts, err = parseCounts(s.run.Progress); err != nil {
		return err
	}
	s.sent = sent(s.run.Outcomes)
	if !s.limitReached() {
		if err := s.newPipeline(s.spec, blocks).run(ctx, s.take); err != nil {
			return err
		}
	}
	return RetryStore(ctx, s.Progress, func() error { return s.runs.EndRun(ctx, s.run) })
}

func (s *storing) limitReached() bool { return s.spec.Limit > 0 && s.sent >= s.spec.Limit }

func (s *storing) take(ctx context.Context, b *mappedBlock) error {
	s.Progress.update(func(snapshot *Snapshot) { snapshot.Object = b.Object.Key })
	if err := RetryStore(ctx, s.Progress, func() error { return s.supersede(ctx, b) }); err != nil {
		return err
	}
	at := place{line: b.FirstLine - 1}
	if b.Object.Key == stdinKey {
		line, err := s.stdin.skip(b)
		if err != nil {
			return err
		}
		at = b.after(line)
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
		err = RetryStore(ctx, s.Progress, func() error { return s.runs.AcceptBatch(ctx, s.run, batch) })
		if err != nil {
			return fmt.Errorf("store events of %s up to line %d: %w", b.Object.Key, next.line, err)
		}
		stored, bytes := 0, int64(0)
		for i := range batch.Arrivals {
			if batch.Arrivals[i].Outcome == adapter.Pending {
				stored++
				bytes += int64(len(batch.Arrivals[i].Payload))
			}
		}
		s.sent += int64(stored)
		s.Progress.update(func(snapshot *Snapshot) { snapshot.Counts = *s.counts.clone() })
		if err := s.admission.Stored(ctx, stored, bytes); err != nil {
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

const (
	// maxBatch limits the events that are stored at a time, maxBatchBytes their text.
	maxBatch      = 512
	maxBatchBytes = 8 << 20
)

// roomFor returns how many events may be stored now, 0 if the block has no more.
func (s *storing) roomFor(ctx context.Context, b *mappedBlock, at place) (room int, err error) {
	if at.events == len(b.events) {
		return 0, nil
	}
	err = RetryStore(ctx, s.Progress, func() (err error) {
		room, err = s.admission.Room(ctx)
		return err
	})
	if s.spec.Limit > 0 {
		room = int(min(int64(room), s.spec.Limit-s.sent))
	}
	return min(room, maxBatch), err
}

// place is a position in a block: all before it is stored.
type place struct {
	line            int64 // the last stored one
	events, skipped int   // the number of stored ones
}

// after returns the place behind a line of the block.
func (b *mappedBlock) after(line int64) place {
	at := place{line: line}
	for at.events < len(b.events) && b.events[at.events].line <= line {
		at.events++
	}
	for at.skipped < len(b.skipped) && b.skipped[at.skipped].line <= line {
		at.skipped++
	}
	return at
}

// batch returns the next part of the block, with at most room events, and the place behind it.
// A batch that may reach the limit ends with its last event, so that no line behind the limit
// counts as read.
func (s *storing) batch(b *mappedBlock, from place, room int) (*adapter.Batch, place) {
	to := place{line: b.last(), events: len(b.events), skipped: len(b.skipped)}
	fitting := fitting(b.events[from.events:], room)
	limited := s.spec.Limit > 0 && fitting > 0 && s.sent+int64(fitting) >= s.spec.Limit
	if limited || fitting < len(b.events)-from.events {
		to = b.after(b.events[from.events+fitting-1].line)
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
			batch.Objects[0].Fault = b.fault()
		}
	}
	batch.Progress, _ = json.Marshal(s.counts) // numbers and texts can always be written
	return batch, to
}

// fitting returns how many of the events go into a batch: at most room, and at most maxBatchBytes
// of text, but at least one event.
func fitting(events []event, room int) int {
	size := 0
	for i := range events {
		if size += len(events[i].text); i == room || i > 0 && size > maxBatchBytes {
			return i
		}
	}
	return len(events)
}

// RetryStore repeats do while its error says that the store is unavailable. It returns any other
// error.
func RetryStore(ctx context.Context, progress *Progress, do func() error) error {
	for backoff := (adapter.Backoff{Base: 250 * time.Millisecond, Max: 5 * time.Second}); ; {
		err := do()
		var unavailable *adapter.UnavailableError
		if !errors.As(err, &unavailable) || ctx.Err() != nil {
			return err
		}
		if err := progress.Wait(ctx, "the store: "+unavailable.Unavailable(), backoff.Next()); err != nil {
			return err
		}
	}
}

// outcomeInterval is the time between two looks at the outcomes of a run.
const outcomeInterval = 100 * time.Millisecond

func awaitOutcomes(ctx context.Context, runs adapter.RunStore, run *adapter.Run, progress *Progress) error {
	for {
		var state *adapter.RunState
		err := RetryStore(ctx, progress, func() (err error) {
			state, err = runs.RunState(ctx, run)
			return err
		})
		if err != nil {
			return err
		}
		progress.update(func(s *Snapshot) { s.Object, s.Outcomes = "", state.Outcomes })
		switch {
		case state.Pending == 0:
			progress.SetWaiting("")
			return nil
		case state.Due > 0:
			progress.SetWaiting(waitingForRoom)
		default:
			progress.SetWaiting(waitingForTime)
		}
		if err := adapter.Wait(ctx, outcomeInterval); err != nil {
			return err
		}
	}
}
