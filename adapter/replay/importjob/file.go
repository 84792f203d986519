package importjob

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/mapping"
)

// prepare selects the held events for a file: first the leftover of the last job, then as many others as fit. It
// stores the selection as a job, and returns nil if there are no events.
func (r *runner) prepare(ctx context.Context) (*job, error) {
	j := &job{number: r.number + 1, state: jobState{Stage: stagePrepared, Before: r.left}}
	size, err := r.takeLeft(ctx, j)
	if err != nil {
		return nil, err
	}
	for event, err := range r.heldAfter(ctx, r.last) {
		if err != nil {
			return nil, err
		}
		line, _ := r.line(nil, event)
		if size += int64(len(line)) + 1; len(j.ids) > 0 && (size > r.MaxBytes || len(j.ids) >= r.MaxLines) {
			break
		}
		j.ids = append(j.ids, event.ID)
		j.fresh++
		j.textBytes += int64(len(event.Payload))
	}
	if len(j.ids) == 0 {
		return nil, nil
	}
	if j.fresh == 0 {
		if err := r.waitForLeft(ctx, r.left); err != nil {
			return nil, err
		}
	}
	j.firstID, j.lastID = j.ids[0], j.ids[len(j.ids)-1]
	return j, r.put(ctx, j)
}

// takeLeft starts the job with the leftover of the last one, and returns the size of its lines. Those have been in
// one file before.
func (r *runner) takeLeft(ctx context.Context, j *job) (size int64, err error) {
	ids, err := r.left.ids()
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	all := &job{firstID: ids[0], lastID: ids[len(ids)-1], ids: ids}
	err = r.eachHeld(ctx, all, func(_ int, event *adapter.Leased) error {
		j.ids = append(j.ids, event.ID)
		line, _ := r.line(nil, event)
		size += int64(len(line)) + 1
		return nil
	})
	return size, err
}

// line appends the line of a held event. If today's rules do not send the event, or its payload is damaged, it appends
// nothing and returns the event's outcome.
func (r *runner) line(dst []byte, held *adapter.Leased) ([]byte, adapter.Step) {
	if held.Damaged {
		return dst, delivery.DamagedStep(r.Now())
	}
	mapped := r.Mapper.MapWith(held.Payload, time.Time{}, mapping.Options{})
	if mapped.Kind == mapping.KindUserEvent {
		return mapped.UserEvent.AppendImportLine(dst), adapter.Step{}
	}
	unsent := adapter.Step{Outcome: adapter.Skipped, Reason: mapped.Reason, Detail: mapped.Detail, At: r.Now()}
	if mapped.Kind == mapping.KindReject {
		unsent.Outcome = adapter.Rejected
	}
	return dst, unsent
}

// writeFile writes the lines of a job, and returns the size of the file. The file has no name, so it disappears with
// the process. Events that today's rules do not send get their outcomes and leave the job.
func (r *runner) writeFile(ctx context.Context, j *job) (_ *os.File, size int64, err error) {
	file, err := os.CreateTemp(r.Dir, "segment-saasquatch-*.jsonl")
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	if err := os.Remove(file.Name()); err != nil {
		return nil, 0, err
	}
	out := bufio.NewWriterSize(file, 256<<10)
	var line []byte
	kept := make([]int64, 0, len(j.ids))
	err = r.eachHeld(ctx, j, func(_ int, event *adapter.Leased) error {
		var unsent adapter.Step
		if line, unsent = r.line(line[:0], event); len(line) == 0 {
			return r.settle(ctx, event, unsent)
		}
		kept = append(kept, event.ID)
		line = append(line, '\n')
		size += int64(len(line))
		_, err := out.Write(line)
		return err
	})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return nil, 0, err
	}
	if len(kept) != len(j.ids) {
		j.ids, j.state.IDs = kept, nil
	}
	return file, size, r.put(ctx, j)
}

// eachHeld calls fn with each event of the job that has no outcome yet, and its line from 0.
func (r *runner) eachHeld(ctx context.Context, j *job, fn func(line int, event *adapter.Leased) error) error {
	line := 0
	for event, err := range r.heldAfter(ctx, j.firstID-1) {
		if err != nil {
			return err
		}
		for line < len(j.ids) && j.ids[line] < event.ID {
			line++
		}
		if line == len(j.ids) {
			break
		}
		if j.ids[line] != event.ID {
			continue // it is in no job
		}
		if err := fn(line, event); err != nil {
			return err
		}
	}
	return nil
}

// settle records the outcome of an event, unless it has one.
func (r *runner) settle(ctx context.Context, event *adapter.Leased, step adapter.Step) error {
	err := r.retryStore(ctx, func() error { return r.store.Settle(ctx, r.run, event, step) })
	if err == nil || errors.Is(err, adapter.ErrLeaseLost) {
		return nil
	}
	return fmt.Errorf("record the outcome of delivery %d: %w", event.ID, err)
}
