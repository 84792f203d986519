package delivery

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Durable accepts events into a queue, from which a [Dispatcher] delivers them. Accepted events
// survive a crash.
type Durable struct {
	mapper   Mapper
	queue    adapter.Queue
	timeout  time.Duration
	now      func() time.Time
	record   func(adapter.Result)
	panicked PanicFunc
}

// DurableOptions are the choices of durable acceptance.
type DurableOptions struct {
	// Timeout bounds Accept. Segment waits 5 s for an answer. Default: 4 s.
	Timeout time.Duration
	// Now is the clock. Default: that of an [adapter.Clock].
	Now func() time.Time
	// Record is told the result of every event that has its outcome when it is accepted. Beyond the
	// first hundred, the rejected events of a request with one reason share a result, which has
	// their number. Default: none.
	Record func(adapter.Result)
	// OnPanic is told of panics in the mapping and the storing. Default: none.
	OnPanic PanicFunc
}

// acceptTimeout leaves a second of the 5 s that Segment waits, for the way there and back.
const acceptTimeout = 4 * time.Second

// NewDurable returns acceptance of events into queue, mapped by mapper.
func NewDurable(mapper Mapper, queue adapter.Queue, opts DurableOptions) *Durable {
	if opts.Timeout <= 0 {
		opts.Timeout = acceptTimeout
	}
	if opts.Now == nil {
		opts.Now = adapter.NewClock(adapter.ClockOptions{}).Now
	}
	if opts.Record == nil {
		opts.Record = func(adapter.Result) {}
	}
	if opts.OnPanic == nil {
		opts.OnPanic = func(any, []byte) {}
	}
	return &Durable{
		mapper: mapper, queue: queue, timeout: opts.Timeout, now: opts.Now, record: opts.Record,
		panicked: opts.OnPanic,
	}
}

// Accept maps the events by the rules alone and stores them, all or none. In the receipt, the
// events to deliver are pending with the reason accepted, and the sender need not send them again.
// The Dispatcher evaluates expressions, so that none of them takes time for which the sender waits.
// They may still skip or reject a pending event. Then the log and the store say so. The end of ctx
// does not end the storing: the sender has sent everything, and need not send again what is stored.
//
// An error is that of the queue, or a [adapter.LateError] after DurableOptions.Timeout. The queue
// then withdraws events that it has not begun to commit. Events that it is committing may be
// stored. Their results are recorded like those of an accepted request.
func (d *Durable) Accept(ctx context.Context, events [][]byte) (adapter.Receipt, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.timeout)
	results := make([]adapter.Result, len(events))
	arrivals := make([]adapter.Arrival, len(events))
	mapAll(d.mapper, events, d.now(), mapping.Options{RulesOnly: true}, d.panicked,
		func(i int, mapped mapping.Result) {
			results[i] = resultOf(i, &mapped)
			if mapped.Kind != 0 && results[i].Outcome == adapter.Pending {
				results[i].Reason, results[i].Detail = mapping.ReasonAccepted, ""
			}
			arrivals[i] = arrivalOf(events[i], &mapped, &results[i])
		})
	var err error
	done := make(chan struct{})
	go func() { // ends when the queue answers
		defer cancel()
		defer close(done) // before cancel, so that ctx has ended early only if the queue is late
		err = d.store(ctx, arrivals, results)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		select {
		case <-done:
		default:
			return adapter.Receipt{}, &adapter.LateError{Done: done}
		}
	}
	if err != nil {
		return adapter.Receipt{}, err
	}
	return adapter.Receipt{Results: results}, nil
}

// store has the queue store the arrivals, and completes and records their results.
func (d *Durable) store(ctx context.Context, arrivals []adapter.Arrival, results []adapter.Result) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			d.panicked(cause, debug.Stack())
			err = fmt.Errorf("panic while events were stored: %v", cause)
		}
	}()
	if err := d.queue.Accept(ctx, arrivals); err != nil {
		return err
	}
	recorder := requestRecorder{record: d.record}
	for i := range results {
		result := &results[i]
		if arrivals[i].Outcome == adapter.Duplicate {
			result.Outcome, result.Reason = adapter.Duplicate, arrivals[i].Reason
		}
		if result.Outcome.Settled() {
			recorder.add(result)
		}
	}
	recorder.end()
	return nil
}

// ArrivalOf returns a mapped event as an arrival for a queue; see [Durable].
func ArrivalOf(payload []byte, mapped *mapping.Result) adapter.Arrival {
	result := resultOf(0, mapped)
	return arrivalOf(payload, mapped, &result)
}

// arrivalOf returns a mapped event as an arrival for a queue. An event whose mapping panicked is
// stored too: the Dispatcher maps it again.
func arrivalOf(payload []byte, mapped *mapping.Result, result *adapter.Result) adapter.Arrival {
	of := userOf(mapped)
	arrival := adapter.Arrival{
		MessageID: mapped.MessageID,
		UserID:    of.userID,
		AccountID: of.accountID,
		Event:     mapped.Event,
		EventKey:  eventKeyOf(mapped),
		Keyed:     mapped.Keyed(),
		Identity:  mapped.Identity,
		Payload:   payload,
		Outcome:   result.Outcome,
		Reason:    result.Reason,
		Detail:    result.Detail,
	}
	if result.Outcome == adapter.Pending && !arrival.Keyed && arrival.MessageID != "" {
		arrival.Fingerprint = fingerprintOf(mapped)
	}
	return arrival
}

// fingerprintOf hashes the body to send: the identity that earlier versions gave an event without a
// key. Stores have it, so it must not change from version to version. Those versions evaluated
// expressions before they accepted an event. The rules alone do not find an event that an
// expression has changed: if Segment redelivers it across the upgrade, it is sent again.
func fingerprintOf(mapped *mapping.Result) int64 {
	hash, of := sha256.New(), userOf(mapped)
	for _, text := range []string{of.accountID, of.userID} {
		_, _ = hash.Write(binary.AppendUvarint(nil, uint64(len(text)))) // a hash never fails
		_, _ = hash.Write([]byte(text))
	}
	_, _ = hash.Write(mapped.UserEvent.Body)
	if mapped.Kind == mapping.KindUserUpsert {
		for i := range mapped.Upserts {
			body := mapped.Upserts[i].Body
			_, _ = hash.Write(binary.AppendUvarint(nil, uint64(len(body))))
			_, _ = hash.Write(body)
		}
	}
	// 0 stands for a valid key.
	return int64(binary.BigEndian.Uint64(hash.Sum(nil)) | 1)
}
