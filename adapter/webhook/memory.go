package webhook

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

// memory bounds what all requests that are not answered yet hold in memory, in bytes.
// Its parts do not touch each other: small requests, large ones, and the bodies of
// strangers. So large requests never keep small ones from being answered, and a sender
// without a credential keeps away other such senders at most.
//
// What handling takes is an estimate. The garbage collector, the store's transactions
// and deliveries take memory beside it.
type memory struct {
	small     lane
	door      lane // of large requests whose beginning has come
	large     lane
	strangers strangers
}

// lane is memory of requests whose senders have shown a credential.
type lane struct {
	bodies   *semaphore.Weighted // reserved while they come
	handling *semaphore.Weighted // beside the body, once it has come
	room     int64               // of bodies
	most     int64               // of handling
	full     error
}

const (
	// smallRequest is the largest body of a small request, in bytes.
	smallRequest = 256 << 10
	// patience bounds how long a request waits for memory in all. Then it is refused.
	// Segment waits 5 s for an answer. It is longer than a body may stall.
	patience = 3 * time.Second

	// What mapping and storing a request take at the same time beside its body, in bytes
	// for each byte of it and for each event.
	handlingPerByte  = 2
	handlingPerEvent = 2 << 10
)

// What is told at each bound.
var (
	errLarge = refuseFor(ReasonTooManyBodies, http.StatusServiceUnavailable,
		"too many large requests at once: send this request again")
	errSmall = refuseFor(ReasonTooManyBodies, http.StatusServiceUnavailable,
		"too many requests at once: send this request again")
	errStrangers = refuseFor(ReasonTooManyUnverified, http.StatusServiceUnavailable,
		"too many requests at once whose signature is not verified yet: send this request again")
)

// newMemory divides size. Each part has room for one body of bodyLimit at least.
func newMemory(size, bodyLimit int64) *memory {
	one := capacityFor(bodyLimit+1) + gzipMemory
	return &memory{
		strangers: newStrangers(max(size/8, one), one),
		small:     newLane(max(size/16, smallRequest+gzipMemory), size/16, errSmall),
		door:      newLane(max(size/16, beginning+gzipMemory), 0, errLarge),
		large:     newLane(max(size*3/8, one), size*5/16, errLarge),
	}
}

func newLane(bodies, handling int64, full error) lane {
	handling = max(handling, 1)
	return lane{semaphore.NewWeighted(bodies), semaphore.NewWeighted(handling), bodies, handling, full}
}

// grow reserves n more bytes for a body that is coming. A large request waits at the
// door, with its beginning alone in memory, until there is room for the length that it
// declares, or for n bytes if it declares none.
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
		to = &m.door
		if b.held > beginning+gzipMemory {
			to, want = &m.large, max(b.held, capacityFor(b.expected+1))
		}
	}
	switch {
	case to == b.lane:
		if !to.bodies.TryAcquire(want - b.reserved) {
			return to.full
		}
	case to == &m.large:
		if err := b.wait(ctx, to.bodies, want, to.full); err != nil {
			return err
		}
		b.leave()
	default:
		if !to.bodies.TryAcquire(want) {
			return to.full
		}
		b.leave()
	}
	b.lane, b.reserved = to, want
	return nil
}

// wait reserves n bytes of part, within the patience that is left.
func (b *body) wait(ctx context.Context, part *semaphore.Weighted, n int64, full error) error {
	if part.TryAcquire(n) {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, b.began.Add(patience))
	defer cancel()
	if part.Acquire(ctx, n) != nil {
		return full
	}
	return nil
}

// leave gives back what is reserved of a lane.
func (b *body) leave() {
	if b.lane != nil {
		b.lane.bodies.Release(b.reserved)
	}
	b.lane, b.reserved = nil, 0
}

// welcome takes a body from the strangers, since a credential vouches for its sender. It
// stays on their account while it waits.
func (m *memory) welcome(ctx context.Context, b *body) error {
	s := b.stranger
	if s == nil {
		return nil
	}
	b.stranger = nil
	err := m.grow(ctx, b, 0, time.Time{})
	return cmp.Or(m.strangers.leave(s), err)
}

// handle waits until there is memory to handle a verified body in, and returns what
// gives it back.
func (m *memory) handle(ctx context.Context, b *body, events int) (done func(), err error) {
	if err := m.welcome(ctx, b); err != nil {
		return nil, err
	}
	to := b.lane
	if to == &m.door { // its declared length is large, but it is not
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
