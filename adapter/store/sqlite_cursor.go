package store

import (
	"math"
	"sync"
	"time"
)

// dueCursors remember for each tenant of a connection up to where the process has all due events in hand. Without
// them, each look-up would read past these events again.
//
// Every change by this process lowers them as far as it makes an event due before. A redrive beside this process makes
// an event due at its present time, which may be a little before a cursor. So a look-up reads from the start again
// after rescanAfter.
type dueCursors struct {
	mu       sync.Mutex
	byTenant map[[2]int64]*dueCursor
}

// rescanAfter is how long look-ups rely on a cursor.
const rescanAfter = 250 * time.Millisecond

// duePlace is a place in the order of due events.
type duePlace struct{ due, id int64 }

var (
	firstPlace = duePlace{due: math.MinInt64}
	lastPlace  = duePlace{due: math.MaxInt64}
)

func (p duePlace) before(q duePlace) bool { return p.due < q.due || p.due == q.due && p.id < q.id }

type dueCursor struct {
	// from is the place from which there may be events that are not in hand.
	from duePlace
	// lowest is the first place of the events that were made due since the running look-up began.
	lowest duePlace
	// scanned is when a look-up last read from the start.
	scanned time.Time
}

func newDueCursors() *dueCursors { return &dueCursors{byTenant: make(map[[2]int64]*dueCursor)} }

// begin returns the place from which a look-up reads. It precedes the look-up's snapshot.
func (c *dueCursors) begin(q *Queue, now time.Time) duePlace {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := [2]int64{q.connection, q.tenant}
	cursor := c.byTenant[key]
	if cursor == nil {
		cursor = &dueCursor{from: firstPlace}
		c.byTenant[key] = cursor
	}
	cursor.lowest = lastPlace
	if now.Sub(cursor.scanned) > rescanAfter {
		cursor.from = firstPlace
	}
	if cursor.from == firstPlace {
		cursor.scanned = now
	}
	return cursor.from
}

// end notes that the process has all due events before the place in hand.
func (c *dueCursors) end(q *Queue, reached duePlace) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cursor := c.byTenant[[2]int64{q.connection, q.tenant}]
	if cursor.from = reached; cursor.lowest.before(reached) {
		cursor.from = cursor.lowest
	}
}

// lower notes that events are due at a time, or become due then.
func (c *dueCursors) lower(q *Queue, due int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cursor := c.byTenant[[2]int64{q.connection, q.tenant}]; cursor != nil {
		cursor.lower(duePlace{due: due})
	}
}

func (c *dueCursor) lower(to duePlace) {
	if to.before(c.from) {
		c.from = to
	}
	if to.before(c.lowest) {
		c.lowest = to
	}
}

// reset has the next look-ups read from the start.
func (c *dueCursors) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cursor := range c.byTenant {
		cursor.lower(firstPlace)
	}
}
