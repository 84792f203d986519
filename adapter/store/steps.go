package store

import (
	"context"
	"database/sql"
	"time"

	"segment-saasquatch/adapter"
)

// pace bounds the steps of operators' work, each of which is a transaction, so that the
// events that come meanwhile wait for little more than they do for each other.
type pace struct {
	// minRows and maxRows bound the rows of a step. Within them a step is as large as the
	// time allows.
	minRows, maxRows int
	// bytes bounds the payloads of a step; a larger one goes alone.
	bytes int64
	// work is how long the statements of a step should take.
	work time.Duration
	// rest is the shortest rest after a step, and factor how many times as long as the step
	// it is at least.
	rest   time.Duration
	factor int
}

// maxWork is how many times as long as planned the statements of a step may take where commits
// are slow.
const maxWork = 5

// stepTimeout bounds a step. Once begun it is not cut short, so that the caller knows how much
// was done.
const stepTimeout = applyTimeout

// pacer has operators' work go in steps, one at a time, however many operators there are.
type pacer struct {
	pace
	// turn has one place, for the step under way; see sqliteEngine.writing for why it is no
	// mutex. It guards what follows.
	turn chan struct{}
	// rows is how many the next step takes.
	rows int
	// rested is when the next step may begin.
	rested time.Time
	// stepped is told of each step.
	stepped func(rows int, bytes int64)
}

func newPacer(p pace, stepped func(rows int, bytes int64)) *pacer {
	return &pacer{pace: p, turn: make(chan struct{}, 1), rows: p.minRows, stepped: stepped}
}

// stepwise is a change of many rows.
type stepwise[T any] struct {
	// size is that of a row's payload, as far as it is written.
	size func(*T) int64
	// prepare, nil for nothing, does what need not be done in a transaction of the step.
	prepare func(context.Context) error
	// change changes a part of the rows. It may be called again with the same part, or with
	// less of it, if its transaction was not committed.
	change func(context.Context, *sql.Tx, []T) error
	// done is told that the change was committed.
	done func()
}

// run changes a part of the list at a time, each in a transaction of its own. It ends between
// two of them once ctx has ended.
func (c *stepwise[T]) run(ctx context.Context, s *Store, list []T) error {
	for len(list) > 0 {
		n, err := c.step(ctx, s, list)
		if err != nil {
			return err
		}
		c.done()
		list = list[n:]
	}
	return nil
}

// step changes the first part of the list and returns how many rows that was.
func (c *stepwise[T]) step(ctx context.Context, s *Store, list []T) (int, error) {
	p := s.pacer
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if err := adapter.Wait(ctx, time.Until(p.rested)); err != nil {
		return 0, err
	}
	s.engine.yield(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
	defer cancel()
	n, bytes := 0, int64(0)
	for n < min(p.rows, len(list)) && (n == 0 || bytes+c.size(&list[n]) <= p.bytes) {
		bytes += c.size(&list[n])
		n++
	}
	if c.prepare != nil {
		if err := c.prepare(ctx); err != nil {
			return 0, err
		}
	}
	var began, worked time.Time
	for {
		err := s.engine.write(ctx, func(tx *sql.Tx) error {
			began = time.Now() // the step has the writer from here on
			err := c.change(ctx, tx, list[:n])
			worked = time.Now()
			return err
		})
		if err == nil {
			break
		}
		if !isConflict(err) || n == 1 {
			return 0, err
		}
		n /= 2 // each of many rows can meet another process, a single one only once
	}
	bytes = 0
	for i := range list[:n] {
		bytes += c.size(&list[i])
	}
	took := time.Since(began)
	p.adapt(n, worked.Sub(began), took)
	p.rested = time.Now().Add(max(p.pace.rest, time.Duration(p.factor)*took))
	s.engine.stepped(ctx)
	p.stepped(n, bytes)
	return n, nil
}

// adapt sizes the next step by how long the statements of one with n rows took, and all of it.
// On a slow disk, where every commit takes its time, the statements may take as long as the
// rest does. It grows slowly, since a single step may have been lucky.
func (p *pacer) adapt(n int, worked, took time.Duration) {
	allowed := max(p.work, min(took-worked, maxWork*p.work))
	fitting := int(int64(n) * int64(allowed) / max(int64(worked), 1))
	p.rows = max(p.minRows, min(fitting, p.rows+p.rows/4, p.maxRows))
}
