package delivery

import (
	"context"
	"strconv"
	"sync"
	"time"

	"segment-saasquatch/adapter"
)

// userQueues are the leased events of a Dispatcher, by user. One worker at a time works on a user's
// queue.
type userQueues struct {
	ready chan *userQueue // those without a worker; it never blocks
	alone chan *userQueue // those whose event in front needs a call of its own; it never blocks
	freed chan struct{}   // receives when there is room
	// gathering has one place, for the worker that takes queues for a bulk call.
	gathering chan struct{}

	mu     *sync.Mutex
	byUser map[user]*userQueue
	events int // leased and not recorded yet
	bytes  int64
	parked parkedUsers
	// upserts are those that a lease may not know about.
	upserts deliveredUpserts
}

// userQueue is the leased events of one user, oldest first.
type userQueue struct {
	user   user
	events []*adapter.Leased
	// alone is the event in front, if it needs a call of its own; else nil.
	alone *toSendAlone
}

const (
	// queueEvents and queueBytes bound the leased events of one user while others may wait for
	// room. The first event may be larger.
	queueEvents, queueBytes = 32, windowBytes / 32
)

func newUserQueues() userQueues {
	return userQueues{
		ready:     make(chan *userQueue, windowEvents),
		alone:     make(chan *userQueue, windowEvents),
		freed:     make(chan struct{}, 1),
		gathering: make(chan struct{}, 1),
		mu:        new(sync.Mutex),
		byUser:    make(map[user]*userQueue),
		parked:    newParkedUsers(),
		upserts:   deliveredUpserts{newest: make(map[user]int64)},
	}
}

// room returns how many more events and bytes may be leased.
func (l *userQueues) room() (events int, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return windowEvents - l.events, windowBytes - l.bytes
}

// awaitRoom waits until events are done, for d at most or until ctx ends.
func (l *userQueues) awaitRoom(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-l.freed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// queueOf returns the user to whose queue an event belongs.
func queueOf(event *adapter.Leased) user {
	of := user{event.AccountID, event.UserID}
	if of == (user{}) {
		// The user is unknown, so no event is known to precede this one.
		of.userID = "\x00" + strconv.FormatInt(event.ID, 10)
	}
	return of
}

// add adds leased events. It returns the events to park, which must wait behind parked events of
// their users.
func (l *userQueues) add(leased []adapter.Leased, now time.Time) (behind []parkedEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range leased {
		event := &leased[i]
		of := queueOf(event)
		q := l.byUser[of]
		if l.parked.precede(of, event, q != nil && len(q.events) >= queueEvents, now) {
			behind = append(behind, l.parked.park(of, event, now))
			l.count(event)
			if l.isShort(q) {
				l.parked.want(of)
			}
			continue
		}
		l.append(of, event)
	}
	return behind
}

// append adds an event to its user's queue.
func (l *userQueues) append(of user, event *adapter.Leased) {
	l.count(event)
	event.Superseded = event.Superseded || l.upserts.supersedes(of, event)
	if q := l.byUser[of]; q != nil {
		q.events = append(q.events, event)
		return
	}
	q := &userQueue{user: of, events: []*adapter.Leased{event}}
	l.byUser[of] = q
	l.ready <- q
}

// surplus cuts off the ends of long queues if there are fewer queues than workers: then other
// users' events may be waiting for room. It returns the events to park.
func (l *userQueues) surplus(workers int, now time.Time) (surplus []parkedEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.byUser) >= workers {
		return nil
	}
	for _, q := range l.byUser {
		kept := q.kept()
		for _, event := range q.events[kept:] {
			surplus = append(surplus, l.parked.park(q.user, event, now))
		}
		clear(q.events[kept:])
		q.events = q.events[:kept]
		if l.isShort(q) {
			l.parked.want(q.user)
		}
	}
	l.parked.sweep(now)
	return surplus
}

// kept returns how many events of the queue stay while others need room.
func (q *userQueue) kept() int {
	var bytes int64
	for i, event := range q.events {
		if bytes += int64(len(event.Payload)); i == queueEvents || i > 0 && bytes > queueBytes {
			return i
		}
	}
	return len(q.events)
}

// isShort reports whether to lease parked events of the user again, so that its worker need not
// wait for them.
func (l *userQueues) isShort(q *userQueue) bool {
	if q == nil {
		return true
	}
	var bytes int64
	for i, event := range q.events {
		if bytes += int64(len(event.Payload)); i == queueEvents/2 || bytes > queueBytes/2 {
			return i == 0
		}
	}
	return true
}

// takeBehind takes out the user's later events that can wait, behind the event in front that a
// worker is working on. They become due at the given time.
func (l *userQueues) takeBehind(q *userQueue, due time.Time) (behind []parkedEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	front := q.events[0]
	kept := q.events[:1]
	for _, event := range q.events[1:] {
		if event.ID < front.ID || !canWait(event) {
			kept = append(kept, event)
			continue
		}
		behind = append(behind, parkedEvent{event, due})
	}
	clear(q.events[len(kept):])
	q.events = kept
	return behind
}

// next returns a queue to work on, nil if ctx ends first.
func (l *userQueues) next(ctx context.Context) *userQueue {
	if ctx.Err() != nil {
		return nil
	}
	select {
	case userQueue := <-l.alone:
		return userQueue
	case userQueue := <-l.ready:
		return userQueue
	case <-ctx.Done():
		return nil
	}
}

// nextOf returns up to n queues that are ready, for a bulk call, or one whose event needs a call of its
// own. It returns none if ctx ends first.
//
// One worker at a time waits for queues, and takes all that a lease brings. If all idle workers waited,
// each would get one queue, and each call would have one event.
func (l *userQueues) nextOf(ctx context.Context, n func() int) []*userQueue {
	if ctx.Err() != nil {
		return nil
	}
	select {
	case q := <-l.alone:
		return []*userQueue{q}
	case l.gathering <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	defer func() { <-l.gathering }()
	switch first := l.next(ctx); {
	case first == nil:
		return nil
	case first.alone != nil:
		return []*userQueue{first}
	default:
		return l.more(first, n()-1)
	}
}

// more returns a queue and up to n further ones that are ready now.
func (l *userQueues) more(first *userQueue, n int) []*userQueue {
	l.mu.Lock() // a lease adds its events under it
	defer l.mu.Unlock()
	queues := []*userQueue{first}
	for range n {
		select {
		case userQueue := <-l.ready:
			queues = append(queues, userQueue)
		default:
			return queues
		}
	}
	return queues
}

// setAlone offers a queue to the workers whose event in front needs a call of its own.
func (l *userQueues) setAlone(q *userQueue, send *toSendAlone) {
	q.alone = send
	l.alone <- q
}

// front returns the event to deliver. Only the worker of the queue may call it.
func (l *userQueues) front(q *userQueue) *adapter.Leased {
	l.mu.Lock()
	defer l.mu.Unlock()
	return q.events[0]
}

// done takes out the event in front and offers the rest of the queue to the workers.
func (l *userQueues) done(q *userQueue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q.alone = nil
	q.events[0] = nil
	q.events = q.events[1:]
	if l.isShort(q) {
		l.parked.want(q.user)
	}
	if len(q.events) > 0 {
		l.ready <- q
	} else {
		delete(l.byUser, q.user)
	}
}

// count counts an event as leased.
func (l *userQueues) count(event *adapter.Leased) {
	l.events++
	l.bytes += int64(len(event.Payload))
}

// recorded counts an event as no longer leased.
func (l *userQueues) recorded(event *adapter.Leased) {
	l.mu.Lock()
	l.events--
	l.bytes -= int64(len(event.Payload))
	l.mu.Unlock()
	select {
	case l.freed <- struct{}{}:
	default:
	}
}

// clear returns the events that are left. No worker may have a queue any more.
func (l *userQueues) clear() (left []*adapter.Leased) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range l.byUser {
		left = append(left, q.events...)
	}
	return left
}
