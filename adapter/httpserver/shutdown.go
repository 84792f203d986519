package httpserver

import (
	"context"
	"time"
)

// Bounds of a sender's patience once the server stops.
const (
	// stallCheck is how often the server looks for senders that stall.
	stallCheck = 100 * time.Millisecond
	// stallTime is how long a body may bring nothing, and how long a peer may not read
	// its answer.
	stallTime = 2 * time.Second
	// leastRate is how many bytes a second a body must bring beyond stallTime.
	leastRate = 16 << 10
)

// endStalls ends the waiting for senders until ctx ends. A request whose body comes too
// slowly fails to read the rest, so that its sender gets an answer; an answer that is
// not read fails to be written. A connection without a request is closed after
// stopTime: over HTTP/2 that leaves time for a GOAWAY, and over HTTP/1 net/http takes
// no more requests by then.
func (cs *connections) endStalls(ctx context.Context) {
	began := time.Now()
	for _, e := range cs.underWay() {
		e.receivedSoFar = e.received.Load()
	}
	ticker := time.NewTicker(stallCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			now := time.Now()
			cs.expireStalled(now, began)
			for _, c := range cs.takeUnused(now, began) {
				_ = c.Conn.Close()
			}
		}
	}
}

func (cs *connections) underWay() []*exchange {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	list := make([]*exchange, 0, len(cs.exchanges))
	for e := range cs.exchanges {
		list = append(list, e)
	}
	return list
}

// expireStalled ends the waiting of those handlers whose peers stall.
func (cs *connections) expireStalled(now, began time.Time) {
	for _, e := range cs.underWay() {
		if e.reading.Load() {
			since := began
			if e.began.After(began) {
				since = e.began
			}
			due := (now.Sub(since) - stallTime).Seconds() * leastRate
			if due >= 0 && float64(e.received.Load()-e.receivedSoFar) <= due {
				e.expireRead(now)
			}
		}
		if writing := e.writing.Load(); writing != 0 && now.Sub(e.began)-time.Duration(writing) >= stallTime {
			e.expireWrite(now)
		}
	}
}

// takeUnused takes the connections out of the books that have no request, or none whose
// handler heeds the end of its wait. The caller closes them.
func (cs *connections) takeUnused(now, began time.Time) (unused []*conn) {
	latest := now.Add(-stopTime)
	if began.After(latest) {
		return nil
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	stuck := make(map[*conn]int)
	for e := range cs.exchanges {
		if e.conn != nil && e.stuck(latest) {
			stuck[e.conn]++
		}
	}
	for c := range cs.open {
		if c.requests == stuck[c] && c.since.Before(latest) {
			cs.forget(c)
			unused = append(unused, c)
		}
	}
	return unused
}
