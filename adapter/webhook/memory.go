package webhook

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

// memory bounds the memory of all unanswered requests, in bytes. Its parts are separate: small requests, large
// requests, and the bodies of unverified senders (strangers). So large requests never keep small ones from an answer,
// and a sender without a credential crowds out only other such senders.
//
// The memory for handling is an estimate. The garbage collector, the store's transactions and deliveries take more.
type memory struct {
	small     pool
	waiting   pool // of large requests whose beginning has arrived
	large     pool
	strangers strangers
}

// pool is memory for requests of verified senders.
type pool struct {
	bodies   *semaphore.Weighted // reserved while they arrive
	handling *semaphore.Weighted // beside the body, once it has arrived
	room     int64               // of bodies
	most     int64               // of handling
	full     error
}

const (
	// smallRequest is the largest body of a small request, in bytes.
	smallRequest = 256 << 10
	// patience bounds the time from the beginning of a body in which it may wait for memory. After it the request is
	// refused. Segment waits 5 s for an answer. It is longer than stallTime.
	patience = 3 * time.Second

	// The memory that mapping and storing a request take beside its body, in bytes for each byte and for each event.
	handlingPerByte  = 2
	handlingPerEvent = 2 << 10
)

// The refusals at each bound.
var (
	errLarge = refuseFor(ReasonTooManyBodies, http.StatusServiceUnavailable,
		"too many large requests at once: send this request again")
	errSmall = refuseFor(ReasonTooManyBodies, http.StatusServiceUnavailable,
		"too many requests at once: send this request again")
	errStrangers = refuseFor(ReasonTooManyUnverified, http.StatusServiceUnavailable,
		"too many requests at once whose signature is not verified yet: send this request again")
	errLeft = refuseFor(ReasonSenderLeft, http.StatusServiceUnavailable,
		"the sender left before there was room for the request: send this request again")
)

// newMemory divides size. Each part has room for one body of bodyLimit at least.
func newMemory(size, bodyLimit int64) *memory {
	one := capacityFor(bodyLimit+1) + gzipMemory
	return &memory{
		strangers: newStrangers(max(size/8, one), one),
		small:     newPool(max(size/16, smallRequest+gzipMemory), size/16, errSmall),
		waiting:   newPool(max(size/16, beginning+gzipMemory), 0, errLarge),
		large:     newPool(max(size*3/8, one), size*5/16, errLarge),
	}
}

func newPool(bodies, handling int64, full error) pool {
	handling = max(handling, 1)
	return pool{semaphore.NewWeighted(bodies), semaphore.NewWeighted(handling), bodies, handling, full}
}

// grow reserves n more bytes for a body that is arriving. A large request waits with only its beginning in memory,
// until there is room for its declared length, or for n bytes if it declares none.
func (m *memory) grow(ctx context.Context, b *body, n int64, now time.Time) error {
	b.held += n
	if b.stranger != nil {
		return m.strangers.grow(b.stranger, n, now)
	}
	if b.held <= b.reserved {
		return nil
	}
	to, want := &m.small, b.held
	if b.held > smallRequest+gzipMemory || b.expected > smallRequest {
		to = &m.waiting
		if b.held > beginning+gzipMemory {
			to, want = &m.large, max(b.held, capacityFor(b.expected+1))
		}
	}
	switch {
	case to == b.pool:
		if !to.bodies.TryAcquire(want - b.reserved) {
			return to.full
		}
		b.reserved = want
		return nil
	case to == &m.large:
		if err := b.wait(ctx, to.bodies, want, to.full); err != nil {
			return err
		}
	case !to.bodies.TryAcquire(want):
		return to.full
	}
	b.leave()
	b.pool, b.reserved = to, want
	return nil
}

// wait reserves n bytes of part, within the rest of the patience.
func (b *body) wait(ctx context.Context, part *semaphore.Weighted, n int64, full error) error {
	if part.TryAcquire(n) {
		return nil
	}
	waiting, cancel := context.WithDeadline(ctx, b.began.Add(patience))
	defer cancel()
	switch {
	case part.Acquire(waiting, n) == nil:
		return nil
	case ctx.Err() != nil:
		return errLeft
	default:
		return full
	}
}

// leave releases the body's reservation of a pool.
func (b *body) leave() {
	if b.pool != nil {
		b.pool.bodies.Release(b.reserved)
	}
	b.pool, b.reserved = nil, 0
}

// admit moves a body from the strangers to a pool, since its sender is verified. While it waits it keeps the
// strangers' reservation.
func (m *memory) admit(ctx context.Context, b *body) error {
	s := b.stranger
	if s == nil {
		return nil
	}
	b.stranger = nil
	err := m.grow(ctx, b, 0, time.Time{})
	return cmp.Or(m.strangers.leave(s), err)
}

// handle waits for the memory to handle a verified body, and returns a function that releases it.
func (m *memory) handle(ctx context.Context, b *body, events int) (done func(), err error) {
	if err := m.admit(ctx, b); err != nil {
		return nil, err
	}
	to := b.pool
	if to == &m.waiting { // a small body with a large declared length
		to = &m.small
	}
	n := min(handlingPerByte*int64(len(b.bytes))+handlingPerEvent*int64(events), to.most)
	if err := b.wait(ctx, to.handling, n, to.full); err != nil {
		return nil, err
	}
	return func() { to.handling.Release(n) }, nil
}

func (m *memory) release(b *body) {
	if b.stranger != nil {
		_ = m.strangers.leave(b.stranger) // evicted or not
	}
	b.leave()
	b.stranger, b.held = nil, 0
}
