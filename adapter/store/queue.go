package store

import (
	"context"
	"time"

	"segment-saasquatch/adapter"
)

// Queue is the queue of one connection.
type Queue struct {
	store      *Store
	connection int64
	tenant     int64
	share      Share
	wake       chan struct{}
	scan       dueScan // of PostgreSQL
}

var _ adapter.Queue = (*Queue)(nil)

// Accept stores the arrivals in one transaction; see [adapter.Queue].
func (q *Queue) Accept(ctx context.Context, arrivals []adapter.Arrival) error {
	if len(arrivals) == 0 {
		return nil
	}
	if err := q.store.health.refuses(); err != nil {
		return err
	}
	events, err := q.store.nameEvents(ctx, arrivals)
	if err != nil {
		return err
	}
	a := &acceptance{queue: q, arrivals: arrivals, events: events, at: q.store.now(), ctx: ctx}
	rows, bytes := a.weight()
	if err := q.store.admit(q, rows, bytes); err != nil {
		return err
	}
	if err := q.store.commit(ctx, a); err != nil {
		return err
	}
	q.wakeUp()
	return nil
}

// Lease hands out due events; see [adapter.Queue].
func (q *Queue) Lease(ctx context.Context, limit int, maxBytes int64) ([]adapter.Leased, error) {
	return q.lease(ctx, leaseRequest{limit: limit, maxBytes: maxBytes})
}

// LeaseParked hands out parked events before they are due; see [adapter.Queue].
func (q *Queue) LeaseParked(ctx context.Context, parked []adapter.Parked, maxBytes int64) ([]adapter.Leased, error) {
	if len(parked) == 0 {
		return nil, nil
	}
	return q.lease(ctx, leaseRequest{limit: len(parked), maxBytes: maxBytes, parked: parked})
}

func (q *Queue) lease(ctx context.Context, request leaseRequest) ([]adapter.Leased, error) {
	leased, err := q.store.engine.lease(ctx, q, q.store.now(), request)
	if unavailable := q.store.engine.explain(err); unavailable != nil {
		return nil, unavailable
	}
	return leased, err
}

// MarkSending records that an attempt begins; see [adapter.Queue].
func (q *Queue) MarkSending(ctx context.Context, leased *adapter.Leased) error {
	m := &marking{queue: q, leased: leased, at: q.store.now()}
	if err := q.store.commit(ctx, m); err != nil {
		return err
	}
	if m.lost {
		return adapter.ErrLeaseLost
	}
	return nil
}

// RecordAll settles leased events or puts them back; see [adapter.Queue].
func (q *Queue) RecordAll(ctx context.Context, steps []adapter.Recording) error {
	if len(steps) == 0 {
		return nil
	}
	all := make([]recording, len(steps))
	rs := make(recordings, len(steps))
	for i := range steps {
		r := &all[i]
		r.queue, r.leased, r.step = q, steps[i].Leased, steps[i].Step
		r.keepPayload, r.keepUntil = q.store.retention.payload(r.step.Outcome, r.step.At)
		rs[i] = r
	}
	if err := q.store.record(ctx, rs); err != nil {
		return err
	}
	for i := range steps {
		steps[i].Lost = all[i].lost
	}
	return nil
}

// Record settles a leased event or puts it back, as RecordAll does. It returns ErrLeaseLost if the lease is lost.
func (q *Queue) Record(ctx context.Context, leased *adapter.Leased, step adapter.Step) error {
	steps := []adapter.Recording{{Leased: leased, Step: step}}
	if err := q.RecordAll(ctx, steps); err != nil {
		return err
	}
	if steps[0].Lost {
		return adapter.ErrLeaseLost
	}
	return nil
}

// Release gives leased events back; see [adapter.Queue].
func (q *Queue) Release(ctx context.Context, leased []*adapter.Leased) error {
	if len(leased) == 0 {
		return nil
	}
	defer q.scan.reset()
	return q.store.commit(ctx, &release{queue: q, leased: leased})
}

// Wake returns the channel that receives after an Accept or a redrive.
func (q *Queue) Wake() <-chan struct{} { return q.wake }

func (q *Queue) wakeUp() {
	select {
	case q.wake <- struct{}{}:
	default: // a wake-up is pending already
	}
}

func milliseconds(t time.Time) int64 { return t.UnixMilli() }
