package replay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/mapping"
)

// prepare picks the held events for a file, those first that the last job has left, as
// many as go into it, and fixes them. It returns nil if there are none.
func (i *importing) prepare(ctx context.Context) (*job, error) {
	j := &job{number: i.number + 1, state: jobState{Stage: stagePrepared, Before: i.left}}
	size, err := i.takeLeft(ctx, j)
	if err != nil {
		return nil, err
	}
	for after, full := i.last, false; !full; {
		held, err := i.heldAfter(ctx, after)
		if err != nil {
			return nil, err
		}
		if len(held) == 0 {
			break
		}
		for k := range held {
			event := &held[k]
			line := i.line(nil, event)
			if size += int64(len(line)) + 1; len(j.ids) > 0 && (size > i.MaxBytes || len(j.ids) >= i.MaxLines) {
				full = true
				break
			}
			j.ids = append(j.ids, event.ID)
			j.fresh++
			j.textBytes += int64(len(event.Payload))
			after = event.ID
		}
	}
	if len(j.ids) == 0 {
		return nil, nil
	}
	if j.fresh == 0 {
		if err := i.restLeft(ctx, i.left); err != nil {
			return nil, err
		}
	}
	j.firstID, j.lastID = j.ids[0], j.ids[len(j.ids)-1]
	return j, i.put(ctx, j)
}

// takeLeft has the job begin with the events that the last one has left, and returns
// the size of their lines. They have been in one file.
func (i *importing) takeLeft(ctx context.Context, j *job) (size int64, err error) {
	ids, err := i.left.ids()
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	all := &job{firstID: ids[0], lastID: ids[len(ids)-1], ids: ids}
	err = i.eachHeld(ctx, all, func(_ int, event *adapter.Leased) error {
		j.ids = append(j.ids, event.ID)
		size += int64(len(i.line(nil, event))) + 1
		return nil
	})
	return size, err
}

// line appends the line of a held event. It appends nothing if today's rules send
// it no more, or its payload is damaged.
func (i *importing) line(dst []byte, held *adapter.Leased) []byte {
	if held.Damaged {
		return dst
	}
	mapped := i.Mapper.MapWith(held.Payload, time.Time{}, mapping.Options{})
	if mapped.Kind != mapping.KindUserEvent {
		return dst
	}
	return mapped.UserEvent.AppendImportLine(dst)
}

// importFile is a file of import lines that has no name any more: nothing is left
// of it when the process ends.
type importFile struct {
	file *os.File
	size int64
}

func (f *importFile) open() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(f.file, 0, f.size)), nil
}

func (f *importFile) close() { _ = f.file.Close() } // it is gone then, whatever was wrong

// writeFile writes the lines of a job. Those of its events that today's rules do not
// send get their outcomes instead, and are no longer the job's.
func (i *importing) writeFile(ctx context.Context, j *job) (_ *importFile, err error) {
	file, err := os.CreateTemp(i.Dir, "segment-saasquatch-*.jsonl")
	if err != nil {
		return nil, err
	}
	f := &importFile{file: file}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if err := os.Remove(file.Name()); err != nil {
		return nil, err
	}
	out := bufio.NewWriterSize(file, 256<<10)
	var line []byte
	kept := make([]int64, 0, len(j.ids))
	err = i.eachHeld(ctx, j, func(_ int, event *adapter.Leased) error {
		if line = i.line(line[:0], event); len(line) == 0 {
			return i.settleUnsent(ctx, event)
		}
		kept = append(kept, event.ID)
		line = append(line, '\n')
		f.size += int64(len(line))
		_, err := out.Write(line)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := out.Flush(); err != nil {
		return nil, err
	}
	if len(kept) != len(j.ids) {
		j.ids, j.state.IDs = kept, nil
	}
	return f, i.put(ctx, j)
}

// eachHeld calls fn with the events of the job that have no outcome yet, and the
// number of their lines from 0.
func (i *importing) eachHeld(ctx context.Context, j *job, fn func(line int, event *adapter.Leased) error) error {
	line := 0
	for after := j.firstID - 1; after < j.lastID; {
		held, err := i.heldAfter(ctx, after)
		if err != nil {
			return err
		}
		if len(held) == 0 {
			return nil
		}
		for k := range held {
			event := &held[k]
			for line < len(j.ids) && j.ids[line] < event.ID {
				line++
			}
			if line == len(j.ids) {
				return nil
			}
			if j.ids[line] != event.ID {
				continue // it is of no job
			}
			if err := fn(line, event); err != nil {
				return err
			}
		}
		after = held[len(held)-1].ID
	}
	return nil
}

// settleUnsent records the outcome of an event that today's rules skip or reject, or
// whose payload is damaged.
func (i *importing) settleUnsent(ctx context.Context, event *adapter.Leased) error {
	if event.Damaged {
		return i.settle(ctx, event, delivery.DamagedStep(i.Now()))
	}
	mapped := i.Mapper.MapWith(event.Payload, time.Time{}, mapping.Options{})
	step := adapter.Step{Outcome: adapter.Skipped, Reason: mapped.Reason, Detail: mapped.Detail, At: i.Now()}
	if mapped.Kind == mapping.KindReject {
		step.Outcome = adapter.Rejected
	}
	return i.settle(ctx, event, step)
}

// settle records the outcome of an event, unless it has one.
func (i *importing) settle(ctx context.Context, event *adapter.Leased, step adapter.Step) error {
	err := retry(ctx, i.Progress, func() error { return i.imports.Settle(ctx, i.run, event, step) })
	if errors.Is(err, adapter.ErrLeaseLost) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("record the outcome of delivery %d: %w", event.ID, err)
	}
	return nil
}
