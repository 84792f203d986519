package delivery

import (
	"context"
	"strconv"
	"sync"
	"time"

	"segment-saasquatch/adapter"
)

// lanes are the events that a Dispatcher has in hand, by user. A lane is worked on
// by one goroutine at a time.
type lanes struct {
	ready chan *lane    // those without a worker; it never blocks
	freed chan struct{} // receives when there is room

	mu     *sync.Mutex
	byUser map[user]*lane
	events int
	bytes  int64
	parked parkedUsers
}

// lane is one user's events, the oldest first.
type lane struct {
	user   user
	events []*adapter.Leased
}

const (
	// laneEvents and laneBytes are how many events of one user, and how large ones, are
	// in hand where others may have to wait for room. The first event is always in hand.
	laneEvents, laneBytes = 32, windowBytes / 32
)

func newLanes() lanes {
	return lanes{
		ready:  make(chan *lane, windowEvents),
		freed:  make(chan struct{}, 1),
		mu:     new(sync.Mutex),
		byUser: make(map[user]*lane),
		parked: newParkedUsers(),
	}
}

// room returns how many events and bytes more may be in hand.
func (l *lanes) room() (events int, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return windowEvents - l.events, windowBytes - l.bytes
}

// awaitRoom waits until events are done with, for d at most or until ctx ends.
func (l *lanes) awaitRoom(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-l.freed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// laneOf returns whose lane an event belongs to.
func laneOf(event *adapter.Leased) user {
	of := user{event.AccountID, event.UserID}
	if of == (user{}) {
		// Nothing is known of the user, so nothing is known to be in the way.
		of.userID = "\x00" + strconv.FormatInt(event.ID, 10)
	}
	return of
}

// add adds leased events. It returns those that have to wait for parked events of
// their users, and are to be parked behind them.
func (l *lanes) add(leased []adapter.Leased, now time.Time) (behind []parkedEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range leased {
		event := &leased[i]
		of := laneOf(event)
		q := l.byUser[of]
		if l.parked.precede(of, event, q != nil && len(q.events) >= laneEvents, now) {
			behind = append(behind, l.parked.park(of, event, now))
			if l.isShort(q) {
				l.parked.want(of)
			}
			continue
		}
		l.append(of, event)
	}
	return behind
}

// append adds an event to its user's lane.
func (l *lanes) append(of user, event *adapter.Leased) {
	l.events++
	l.bytes += int64(len(event.Payload))
	if q := l.byUser[of]; q != nil {
		q.events = append(q.events, event)
		return
	}
	q := &lane{user: of, events: []*adapter.Leased{event}}
	l.byUser[of] = q
	l.ready <- q
}

// surplus takes the ends off long lanes if there are fewer lanes than workers: then
// other users' events may be waiting for room. The ends are to be parked.
func (l *lanes) surplus(workers int, now time.Time) (surplus []parkedEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.byUser) >= workers {
		return nil
	}
	for _, q := range l.byUser {
		kept := q.kept()
		for _, event := range q.events[kept:] {
			surplus = append(surplus, l.parked.park(q.user, event, now))
			l.drop(event)
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

// kept returns how many events of the lane stay where others need room.
func (q *lane) kept() int {
	var bytes int64
	for i, event := range q.events {
		if bytes += int64(len(event.Payload)); i == laneEvents || i > 0 && bytes > laneBytes {
			return i
		}
	}
	return len(q.events)
}

// isShort reports whether parked events of the user should come forward, so that its
// worker does not have to wait for them.
func (l *lanes) isShort(q *lane) bool {
	if q == nil {
		return true
	}
	var bytes int64
	for i, event := range q.events {
		if bytes += int64(len(event.Payload)); i == laneEvents/2 || bytes > laneBytes/2 {
			return i == 0
		}
	}
	return true
}

// takeBehind takes the user's later events that can wait off the lane whose event in
// front is being worked on. They are due again at a time.
func (l *lanes) takeBehind(front *adapter.Leased, due time.Time) (behind []parkedEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.byUser[user{front.AccountID, front.UserID}]
	if q == nil || q.events[0] != front {
		return nil
	}
	kept := q.events[:1]
	for _, event := range q.events[1:] {
		if event.ID < front.ID || !canWait(event) {
			kept = append(kept, event)
			continue
		}
		behind = append(behind, parkedEvent{event, due})
		l.drop(event)
	}
	clear(q.events[len(kept):])
	q.events = kept
	return behind
}

// next returns a lane to work on, nil if ctx ends first.
func (l *lanes) next(ctx context.Context) *lane {
	if ctx.Err() != nil {
		return nil
	}
	select {
	case lane := <-l.ready:
		return lane
	case <-ctx.Done():
		return nil
	}
}

// front returns the event to deliver. Only the worker of the lane may call it.
func (l *lanes) front(q *lane) *adapter.Leased {
	l.mu.Lock()
	defer l.mu.Unlock()
	return q.events[0]
}

// done drops the event in front and offers what is left of the lane.
func (l *lanes) done(q *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(q.events[0])
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
	select {
	case l.freed <- struct{}{}:
	default:
	}
}

// drop has an event be in hand no more.
func (l *lanes) drop(event *adapter.Leased) {
	l.events--
	l.bytes -= int64(len(event.Payload))
}

// clear returns what is left in hand. No worker may have a lane any more.
func (l *lanes) clear() (left []*adapter.Leased) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range l.byUser {
		left = append(left, q.events...)
	}
	return left
}
