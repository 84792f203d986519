package delivery

import (
	"cmp"
	"context"
	"slices"
	"time"

	"segment-saasquatch/adapter"
)

// parkedUsers are the users with parked events. A parked event is back in the queue, due later, so
// that a Dispatcher has room for the events of other users. As soon as the user's queue gets short,
// the Dispatcher leases the parked events again, in the order of acceptance. Newer events wait
// behind them.
//
// The due times matter only if the process ends before that.
//
// The hole: beyond maxParked events, some are not remembered. They come back when they are due, and
// later ones may overtake them.
type parkedUsers struct {
	byUser     map[user]*parkedUser
	remembered int  // the parked events of all users in memory
	most       int  // the bound of remembered
	forgot     bool // there may be users without remembered events

	wanted []user        // users with short queues, longest waiting first
	short  chan struct{} // receives when there is one
}

// parkedUser is a user with parked events.
type parkedUser struct {
	events []parkedID // in the order of their ids
	wanted bool

	until time.Time // when the last parked event is due
	// rest is how long an event is parked, and since is when that time last changed.
	rest  time.Duration
	since time.Time
}

// parkedID is a parked event in memory.
type parkedID struct {
	id    int64
	due   int64 // in milliseconds since 1970
	bytes int   // of the payload
}

// parkedEvent is an event to park until due.
type parkedEvent struct {
	leased *adapter.Leased
	due    time.Time
}

const (
	// minPark and maxPark bound how long an event is parked. The time doubles when events become
	// due before they are leased again, because each such return costs a transaction.
	minPark, maxPark = time.Minute, 10 * time.Minute
	// parkSpacing spaces the returns of a user's events, to leave time for other users' events.
	parkSpacing = 200 * time.Microsecond
	// maxParked bounds the memory for parked events to 12 MB.
	maxParked = 1 << 19
	// forwardEvents is how many parked events of a user are leased at once.
	forwardEvents = 48
)

func newParkedUsers() parkedUsers {
	return parkedUsers{byUser: make(map[user]*parkedUser), most: maxParked, short: make(chan struct{}, 1)}
}

// park notes that the event is parked, and returns it with its due time.
func (u *parkedUsers) park(of user, event *adapter.Leased, now time.Time) parkedEvent {
	p := u.byUser[of]
	if p == nil {
		p = &parkedUser{rest: minPark, since: now}
		u.byUser[of] = p
	}
	p.until = latest(now.Add(p.rest), p.until.Add(parkSpacing))
	due := time.UnixMilli(p.until.UnixMilli()) // as queues store it
	u.remember(p, parkedID{event.ID, due.UnixMilli(), len(event.Payload)})
	return parkedEvent{event, due}
}

// remember keeps an event in memory if there is room.
func (u *parkedUsers) remember(p *parkedUser, event parkedID) {
	i, known := p.find(event.id)
	switch {
	case known:
		p.events[i] = event
	case u.remembered < u.most:
		u.remembered++
		p.events = slices.Insert(p.events, i, event)
	default:
		u.forgot = true
	}
}

func (p *parkedUser) find(id int64) (i int, known bool) {
	return slices.BinarySearchFunc(p.events, id, func(e parkedID, id int64) int { return cmp.Compare(e.id, id) })
}

// precede reports whether a leased event must wait for parked events of its user. full says that
// the user's queue is full. If the event need not wait, it is no longer parked.
func (u *parkedUsers) precede(of user, event *adapter.Leased, full bool, now time.Time) bool {
	p := u.byUser[of]
	if p == nil {
		return false
	}
	i, known := p.find(event.ID)
	if known && now.Sub(p.since) >= p.rest { // it came back at its due time
		p.rest, p.since = min(2*p.rest, maxPark), now
	}
	// An event that was tried has lost its place already: it must not wait any longer.
	untried := event.Failed == 0 && canWait(event)
	waits := untried && len(p.events) > 0 && (i > 0 || known && full)
	if known && !waits {
		u.remove(p, i)
	}
	u.tidy(of, p, now)
	return waits
}

// remove forgets an event that is no longer parked.
func (u *parkedUsers) remove(p *parkedUser, i int) {
	u.remembered--
	if i == 0 {
		p.events = p.events[1:]
		return
	}
	p.events = slices.Delete(p.events, i, i+1)
}

// tidy drops a user without parked events that are remembered.
func (u *parkedUsers) tidy(of user, p *parkedUser, now time.Time) {
	if len(p.events) == 0 && !now.Before(p.until) {
		delete(u.byUser, of)
	}
}

// sweep drops users without parked events.
func (u *parkedUsers) sweep(now time.Time) {
	if !u.forgot {
		return
	}
	u.forgot = false
	for of, p := range u.byUser {
		u.tidy(of, p, now)
		u.forgot = u.forgot || len(p.events) == 0 && now.Before(p.until)
	}
}

// want asks for the user's parked events, if there are any.
func (u *parkedUsers) want(of user) {
	p := u.byUser[of]
	if p == nil || p.wanted || len(p.events) == 0 {
		return
	}
	p.wanted = true
	u.wanted = append(u.wanted, of)
	u.signal()
}

func (u *parkedUsers) signal() {
	select {
	case u.short <- struct{}{}:
	default:
	}
}

// forward is a set of parked events to lease again.
type forward struct {
	parked []adapter.Parked
	of     []user // the user of each
}

// forward returns parked events of users with short queues, as far as there is room.
func (l *userQueues) forward(events int, bytes int64) (f forward) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := &l.parked
	wanted := u.wanted
	u.wanted = nil
	for _, of := range wanted {
		p, q := u.byUser[of], l.byUser[of]
		switch {
		case p == nil:
			continue
		case len(p.events) == 0 || !l.isShort(q):
			p.wanted = false
			continue
		case events <= 0 || bytes <= 0:
			u.signal()
			u.wanted = append(u.wanted, of)
			continue
		}
		p.wanted = false
		var size int64
		for _, event := range p.events[:min(forwardEvents, events, len(p.events))] {
			if size += int64(event.bytes); size > min(queueBytes, bytes) && size > int64(event.bytes) {
				size -= int64(event.bytes)
				break
			}
			f.parked = append(f.parked, adapter.Parked{ID: event.id, Due: time.UnixMilli(event.due)})
			f.of = append(f.of, of)
			events--
		}
		bytes -= size
	}
	return f
}

// forwarded adds the leased events to their user queues.
func (l *userQueues) forwarded(f forward, leased []adapter.Leased, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := &l.parked
	// The events that were not leased are gone, except at the end: the lease may have been full.
	done := len(f.parked)
	if n := len(leased); n > 0 {
		done = 1 + slices.IndexFunc(f.parked, func(p adapter.Parked) bool { return p.ID == leased[n-1].ID })
	}
	for i := range f.parked[:done] {
		if p := u.byUser[f.of[i]]; p != nil {
			if at, known := p.find(f.parked[i].ID); known {
				u.remove(p, at)
			}
		}
	}
	for i := range leased {
		l.append(queueOf(&leased[i]), &leased[i])
	}
	for _, of := range slices.Compact(f.of) {
		if l.isShort(l.byUser[of]) {
			u.want(of)
		}
		if p := u.byUser[of]; p != nil {
			u.tidy(of, p, now)
		}
	}
}

// wantAgain asks again for events that could not be leased.
func (l *userQueues) wantAgain(f forward) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, of := range slices.Compact(f.of) {
		l.parked.want(of)
	}
}

// takeParked takes parked events out for good, at least one and no more than bytes.
func (l *userQueues) takeParked(events int, bytes int64) (taken []adapter.Parked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for of, p := range l.parked.byUser {
		for len(p.events) > 0 {
			event := p.events[0]
			if bytes -= int64(event.bytes); len(taken) == events || bytes < 0 && len(taken) > 0 {
				return taken
			}
			taken = append(taken, adapter.Parked{ID: event.id, Due: time.UnixMilli(event.due)})
			l.parked.remove(p, 0)
		}
		delete(l.parked.byUser, of)
	}
	return taken
}

// comeForward leases parked events of users with short queues, and returns their number and size.
func (d *Dispatcher) comeForward(ctx context.Context, events int, bytes int64) (int, int64, error) {
	now := d.Now()
	f := d.userQueues.forward(events, bytes)
	if len(f.parked) == 0 {
		return 0, 0, nil
	}
	leased, err := d.queue.LeaseParked(ctx, f.parked, bytes)
	if err != nil {
		d.userQueues.wantAgain(f)
		return 0, 0, err
	}
	d.userQueues.forwarded(f, leased, now)
	var size int64
	for i := range leased {
		size += int64(len(leased[i].Payload))
	}
	return len(leased), size, nil
}

// unpark makes parked events due at once, the first of each user first, until ctx ends. So the next
// process need not wait for them.
func (d *Dispatcher) unpark(ctx context.Context) error {
	for ctx.Err() == nil {
		parked := d.userQueues.takeParked(windowEvents, windowBytes)
		if len(parked) == 0 {
			return nil
		}
		leased, err := d.queue.LeaseParked(ctx, parked, windowBytes)
		if err != nil {
			return err
		}
		due := make([]adapter.Recording, len(leased))
		for i := range leased {
			due[i] = adapter.Recording{Leased: &leased[i], Step: putBack(d.Now(), d.Now())}
		}
		if err := d.queue.RecordAll(ctx, due); err != nil {
			return err
		}
	}
	return nil
}

// canWait reports whether the event can wait. An event that SaaSquatch may have processed cannot: it
// must be settled before SaaSquatch forgets its key.
func canWait(event *adapter.Leased) bool { return event.AmbiguousSince.IsZero() }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
