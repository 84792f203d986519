package store

import (
	"context"
	"database/sql"
	"time"

	"segment-saasquatch/adapter"
)

// pace bounds the steps of operators' work. Each step is a transaction. Events that arrive meanwhile wait little
// longer than they do for each other.
type pace struct {
	// minRows and maxRows bound the rows of a step. Between them the time decides.
	minRows, maxRows int
	// bytes bounds the payloads of a step. A larger payload has a step of its own.
	bytes int64
	// work is how long the statements of a step should take.
	work time.Duration
	// rest is the shortest pause after a step. The pause is at least factor times as long as the step.
	rest   time.Duration
	factor int
}

// maxWork times the planned time is how long the statements of a step may take if commits are slow.
const maxWork = 5

// stepTimeout bounds a step. The caller cannot interrupt a step that has begun, so that it knows how much was done.
const stepTimeout = applyTimeout

// pacer runs operators' work in steps, one at a time for all operators.
type pacer struct {
	pace
	// turn has one place, for the running step; see sqliteEngine.writing for why it is no mutex. It guards the fields
	// below.
	turn chan struct{}
	// rows is the number of rows of the next step.
	rows int
	// rested is when the next step may begin.
	rested time.Time
	// stepped is called after each step.
	stepped func(rows int, bytes int64)
}

func newPacer(p pace, stepped func(rows int, bytes int64)) *pacer {
	return &pacer{pace: p, turn: make(chan struct{}, 1), rows: p.minRows, stepped: stepped}
}

// stepwise is a change of many rows.
type stepwise[T any] struct {
	// size is the size of a row's payload, if the step writes it.
	size func(*T) int64
	// prepare does work outside the transaction of a step. Nil does nothing.
	prepare func(context.Context) error
	// change changes a part of the rows. It may run again with the same part, or with a smaller one, if its
	// transaction was not committed.
	change func(context.Context, *sql.Tx, []T) error
	// done is called after the commit.
	done func()
}

// run changes the list in parts, each in a transaction of its own. It stops between two parts once ctx has ended.
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

// step changes the first part of the list and returns its number of rows.
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
			began = time.Now() // the step holds the writer from here on
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
		n /= 2 // a smaller part conflicts less, and a single row only once
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

// adapt sizes the next step by the times that the statements of a step with n rows, and the whole step, took. On a
// slow disk, where every commit takes long, the statements may take as long as the rest. Steps grow slowly, since a
// single step may have been fast by chance.
func (p *pacer) adapt(n int, worked, took time.Duration) {
	allowed := max(p.work, min(took-worked, maxWork*p.work))
	fitting := int(int64(n) * int64(allowed) / max(int64(worked), 1))
	p.rows = max(p.minRows, min(fitting, p.rows+p.rows/4, p.maxRows))
}
