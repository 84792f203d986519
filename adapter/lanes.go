package adapter

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"time"
)

// lanes are the events that a Dispatcher has in hand, by user. A lane is worked on
// by one goroutine at a time.
type lanes struct {
	ready chan *lane    // those that nobody works on; it never blocks
	freed chan struct{} // receives when there is room

	mu     *sync.Mutex
	byUser map[user]*lane
	events int
	bytes  int64
	took   time.Duration // how long one event takes of late
	lines  map[user]line // of the users with parked events
}

// lane is one user's events, the oldest first.
type lane struct {
	user   user
	events []*Leased
	began  time.Time // when the work on the first of them began
}

// line is the line of a user's parked events, as far as one is remembered.
type line struct {
	id int64 // of the last event
	// until is when the last event comes back. If the line is full, those that did not
	// fit in come back from then on, in their order, and form a new line.
	until time.Time
	full  bool
}

const (
	// laneEvents is how many events of one user are in hand where others may have
	// to wait for room.
	laneEvents = 32
	// usualAttempt is how long one event is taken to need until it is known better.
	usualAttempt = 50 * time.Millisecond
	// maxTook is the longest time that counts for one event: most of a longer one was
	// spent waiting for a tenant that is paused, and says nothing of the next.
	maxTook = 5 * time.Second
	// maxPark bounds how far ahead an event is parked.
	maxPark = 10 * time.Minute
)

// parked is an event that has to wait until its user's earlier ones are sent.
type parked struct {
	leased *Leased
	due    time.Time
}

func newLanes() lanes {
	return lanes{
		ready:  make(chan *lane, windowEvents),
		freed:  make(chan struct{}, 1),
		mu:     new(sync.Mutex),
		byUser: make(map[user]*lane),
		took:   usualAttempt,
		lines:  make(map[user]line),
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

// add adds leased events.
func (l *lanes) add(leased []Leased) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range leased {
		event := &leased[i]
		of := user{event.AccountID, event.UserID}
		if of == (user{}) {
			// Nothing is known of the user, so nothing is known to be in the way.
			of.userID = "\x00" + strconv.FormatInt(event.ID, 10)
		}
		l.events++
		l.bytes += int64(len(event.Payload))
		if q := l.byUser[of]; q != nil {
			q.events = append(q.events, event)
			continue
		}
		q := &lane{user: of, events: []*Leased{event}}
		l.byUser[of] = q
		l.ready <- q
	}
}

// surplus takes the ends off long lanes if there are fewer lanes than workers: then
// other users' events may be waiting for room. They are due again about when their
// turn would have come, one after the other, so that they neither come back all at
// once nor in another order.
func (l *lanes) surplus(workers int, now time.Time) (surplus []parked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.byUser) >= workers {
		return nil
	}
	for _, q := range l.byUser {
		if len(q.events) <= laneEvents {
			continue
		}
		for i, event := range q.events[laneEvents:] {
			surplus = append(surplus, parked{event, l.lineUp(q.user, event.ID, now, laneEvents+i)})
			l.events--
			l.bytes -= int64(len(event.Payload))
		}
		clear(q.events[laneEvents:])
		q.events = q.events[:laneEvents]
	}
	if len(surplus) > 0 {
		maps.DeleteFunc(l.lines, func(_ user, end line) bool { return end.until.Before(now) })
	}
	return surplus
}

// takeBehind takes the user's later events that can wait off the lane whose event in
// front is being worked on. They are due again at a time.
func (l *lanes) takeBehind(front *Leased, due time.Time) (behind []parked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.byUser[user{front.AccountID, front.UserID}]
	if q == nil || q.events[0] != front {
		return nil
	}
	kept := q.events[:1]
	for _, event := range q.events[1:] {
		if event.ID < front.ID || !event.heldBack() {
			kept = append(kept, event)
			continue
		}
		behind = append(behind, parked{event, due})
		l.events--
		l.bytes -= int64(len(event.Payload))
	}
	clear(q.events[len(kept):])
	q.events = kept
	return behind
}

// lineUp returns when an event is due again that is parked with so many of its
// user's events ahead of it in hand.
func (l *lanes) lineUp(of user, id int64, now time.Time, ahead int) time.Time {
	end := l.lines[of]
	if !now.Before(end.until) {
		end = line{}
	}
	wait := time.Duration(ahead) * l.took
	if id <= end.id { // it was in the line and came back too early
		return now.Add(min(wait, maxPark))
	}
	wait = max(wait, end.until.Add(l.took).Sub(now))
	if end.full || wait > maxPark {
		wait = maxPark
	}
	due := now.Add(wait)
	if !end.full {
		end.until, end.full = due, wait == maxPark
	}
	end.id = id
	l.lines[of] = end
	return due
}

// next returns a lane to work on, nil if ctx ends first.
func (l *lanes) next(ctx context.Context) *lane {
	if ctx.Err() != nil {
		return nil
	}
	select {
	case lane := <-l.ready:
		lane.began = time.Now()
		return lane
	case <-ctx.Done():
		return nil
	}
}

// front returns the event to deliver. Only who works on the lane may call it.
func (l *lanes) front(q *lane) *Leased {
	l.mu.Lock()
	defer l.mu.Unlock()
	return q.events[0]
}

// done drops the event in front and offers what is left of the lane.
func (l *lanes) done(q *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	event := q.events[0]
	q.events[0] = nil
	q.events = q.events[1:]
	l.took += (min(time.Since(q.began), maxTook) - l.took) / 64
	l.events--
	l.bytes -= int64(len(event.Payload))
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

// clear returns what is left in hand. Nobody may work on a lane any more.
func (l *lanes) clear() (left []*Leased) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range l.byUser {
		left = append(left, q.events...)
	}
	return left
}
