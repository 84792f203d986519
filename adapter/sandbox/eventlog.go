package sandbox

import "slices"

// eventLog keeps the latest events within bounds of number and size.
type eventLog struct {
	events queue[Event]
	size   int    // of events, in bytes
	last   uint64 // number of the latest event
}

// maxLogBytes bounds the data of the kept events, so that many large events do not use up the memory.
const maxLogBytes = 256 << 20

// add numbers and keeps an event, and drops the oldest beyond the bounds.
func (l *eventLog) add(event Event, maxEvents int) {
	l.last++
	event.Seq = l.last
	l.events.push(event)
	l.size += size(event)
	for l.events.length > maxEvents || l.size > maxLogBytes && l.events.length > 1 {
		l.size -= size(l.events.pop())
	}
}

// size estimates the event's data in memory, in bytes.
func size(event Event) int {
	return len(event.Fields) + len(event.AccountID) + len(event.UserID) + len(event.Key) + len(event.IdempotencyKey)
}

func (l *eventLog) all() []Event {
	all := make([]Event, l.events.length)
	for i := range all {
		all[i] = *l.events.at(i)
	}
	return all
}

// latest returns the latest events that match, up to limit, in the order of their arrival.
func (l *eventLog) latest(limit int, match func(*Event) bool) []Event {
	found := []Event{}
	for i := l.events.length - 1; i >= 0 && len(found) < limit; i-- {
		if event := l.events.at(i); match(event) {
			found = append(found, *event)
		}
	}
	slices.Reverse(found)
	return found
}
