package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"segment-saasquatch/adapter"
)

// stepRecorder records the steps of a Dispatcher behind its attempts, many in one transaction. The
// queue gets them in the order in which they were handed over, so the steps of one user are
// recorded in the order of the attempts.
//
// The hole: a step that is not recorded yet is lost if the process dies. Then its event is
// attempted again. An event with a key meets 409, and an upsert is repeated. A worker waits until
// the step of an event without a key is recorded.
type stepRecorder struct {
	queue adapter.Queue
	// trouble is told errors of the queue, recovered that it works again, and lost of lost leases.
	trouble, lost func(error)
	recovered     func()

	wake  chan struct{} // receives when there may be something to do
	epoch time.Time
	// oldest is when the oldest unrecorded step was handed over, in nanoseconds since epoch; 0 if
	// there is none.
	oldest atomic.Int64

	mu      sync.Mutex
	waiting []handedStep
	urgent  bool
	closed  bool

	// stubborn are the steps that the queue refuses while it records others.
	stubborn sync.WaitGroup
	// final bounds the work after the end of the process's context, nil before that.
	final    context.Context
	endFinal context.CancelFunc
}

// handedStep is a step to record.
type handedStep struct {
	adapter.Recording
	at time.Time // of the handing over
	// after is called once the step is recorded. Recorded is false if the lease is lost, or if the
	// process ends while the queue fails.
	after func(recorded bool)
}

const (
	// recordLinger is how long a step waits for others at the most, unless the queue is busy.
	recordLinger = 10 * time.Millisecond
	// recordMany steps do not wait for others.
	recordMany = 256
	// recordMost is how many steps are recorded at once at the most.
	recordMost = 1024
	// recordPatience is how long a step may wait to be recorded before no further attempt begins:
	// the outcome of that attempt could not be recorded either, and its event would be sent once
	// more after its lease.
	recordPatience = 2 * time.Second
)

func newStepRecorder(queue adapter.Queue, trouble, lost func(error), recovered func()) *stepRecorder {
	return &stepRecorder{
		queue: queue, trouble: trouble, lost: lost, recovered: recovered,
		wake: make(chan struct{}, 1), epoch: time.Now(),
	}
}

// hand hands over steps. Urgent ones do not wait for others.
func (r *stepRecorder) hand(urgent bool, steps ...handedStep) {
	now := time.Now()
	for i := range steps {
		steps[i].at = now
	}
	r.mu.Lock()
	before := len(r.waiting)
	r.waiting = append(r.waiting, steps...)
	after := len(r.waiting)
	r.urgent = r.urgent || urgent
	if r.oldest.Load() == 0 {
		r.oldest.Store(r.since(now))
	}
	r.mu.Unlock()
	if before == 0 || urgent || before < recordMany && after >= recordMany {
		r.signal()
	}
}

// handAndWait hands over urgent steps, and waits until all are recorded or given up.
func (r *stepRecorder) handAndWait(steps ...handedStep) {
	var left sync.WaitGroup
	left.Add(len(steps))
	for i := range steps {
		then := steps[i].after
		steps[i].after = func(recorded bool) {
			defer left.Done()
			then(recorded)
		}
	}
	r.hand(true, steps...)
	left.Wait()
}

func (r *stepRecorder) since(t time.Time) int64 { return max(1, int64(t.Sub(r.epoch))) }

func (r *stepRecorder) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// overdue reports whether a step has waited for longer than recordPatience.
func (r *stepRecorder) overdue() bool {
	oldest := r.oldest.Load()
	return oldest != 0 && time.Since(r.epoch)-time.Duration(oldest) > recordPatience
}

// close has run end once everything that was handed over is recorded, or given up.
func (r *stepRecorder) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.signal()
}

// run records steps until close. While the queue fails, it goes on for releaseTimeout after the end
// of ctx.
func (r *stepRecorder) run(ctx context.Context) {
	var batch []handedStep
	for {
		<-r.wake
		r.linger()
		batch = r.take(batch[:0])
		r.record(ctx, batch)
		clear(batch)
		if r.next() {
			break
		}
	}
	r.stubborn.Wait()
	if r.final != nil {
		r.endFinal()
	}
}

// linger waits until many steps are handed over, or one of them should wait no longer.
func (r *stepRecorder) linger() {
	timer := time.NewTimer(recordLinger)
	defer timer.Stop()
	for {
		r.mu.Lock()
		enough := len(r.waiting) == 0 || len(r.waiting) >= recordMany || r.urgent || r.closed
		r.mu.Unlock()
		if enough {
			return
		}
		select {
		case <-r.wake:
		case <-timer.C:
			return
		}
	}
}

// take takes the steps to record at once.
func (r *stepRecorder) take(batch []handedStep) []handedStep {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.waiting), recordMost)
	batch = append(batch, r.waiting[:n]...)
	left := copy(r.waiting, r.waiting[n:])
	clear(r.waiting[left:])
	r.waiting = r.waiting[:left]
	r.urgent = r.urgent && left > 0
	return batch
}

// next notes that the steps that were taken are done with, and reports whether run should end.
func (r *stepRecorder) next() (end bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) > 0 {
		r.oldest.Store(r.since(r.waiting[0].at))
		r.signal()
		return false
	}
	r.oldest.Store(0)
	return r.closed
}

// record records steps together, and one by one if one of them fails the others.
func (r *stepRecorder) record(ctx context.Context, batch []handedStep) {
	if len(batch) == 0 {
		return
	}
	switch err := r.insist(ctx, batch); {
	case err == nil:
	case errors.As(err, new(*adapter.UnavailableError)):
		// The process ends. The leases end by themselves, and the events are delivered again.
		for i := range batch {
			batch[i].after(false)
		}
	case len(batch) == 1:
		step := batch[0]
		r.stubborn.Go(func() { r.persist(ctx, step) })
	default:
		for i := range batch {
			r.record(ctx, batch[i:i+1])
		}
	}
}

// insist records steps, and retries while the queue is unavailable, because only this process knows
// the outcomes. It returns an UnavailableError if it had no success for releaseTimeout after the end
// of ctx, and any other error at once.
func (r *stepRecorder) insist(ctx context.Context, batch []handedStep) error {
	lasting := context.WithoutCancel(ctx)
	for rest := leaseRest; ; {
		bound, ending := lasting, ctx
		if r.final != nil {
			bound, ending = r.final, r.final
		}
		err := r.once(bound, batch)
		if err == nil || !errors.As(err, new(*adapter.UnavailableError)) {
			return err
		}
		switch {
		case adapter.Wait(ending, rest.Next()) == nil:
		case r.final != nil:
			return err
		default:
			// It retries a little longer, because otherwise the events would be sent again for nothing.
			r.final, r.endFinal = context.WithTimeout(lasting, releaseTimeout)
		}
	}
}

// persist records a step that the queue refuses, until releaseTimeout after the end of ctx.
func (r *stepRecorder) persist(ctx context.Context, step handedStep) {
	bound, ending := context.WithoutCancel(ctx), ctx
	for rest := leaseRest; ; {
		switch {
		case adapter.Wait(ending, rest.Next()) == nil:
		case ending != ctx:
			step.after(false)
			return
		default:
			var cancel context.CancelFunc
			bound, cancel = context.WithTimeout(bound, releaseTimeout)
			defer cancel()
			ending = bound
		}
		if r.once(bound, []handedStep{step}) == nil {
			return
		}
	}
}

// once records steps and ends those that were recorded.
func (r *stepRecorder) once(ctx context.Context, batch []handedStep) error {
	recordings := make([]adapter.Recording, len(batch))
	for i := range batch {
		recordings[i] = batch[i].Recording
	}
	if err := r.queue.RecordAll(ctx, recordings); err != nil {
		r.trouble(fmt.Errorf("record %s: %w", batch[0].Step.Outcome, err))
		return err
	}
	r.recovered()
	for i := range batch {
		step := &recordings[i]
		if step.Lost && (step.Step.Counted || step.Step.Outcome.Settled()) { // otherwise nothing is lost with it
			r.lost(fmt.Errorf("record %s of delivery %d: %w", step.Step.Outcome, step.Leased.ID,
				adapter.ErrLeaseLost))
		}
		batch[i].after(!step.Lost)
	}
	return nil
}
