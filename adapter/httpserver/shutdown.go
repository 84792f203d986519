package httpserver

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Limits for slow senders once the server stops.
const (
	// stallCheck is how often the server looks for senders that stall.
	stallCheck = 100 * time.Millisecond
	// stallTime is how long a body may bring nothing, and how long a peer may not read its answer.
	stallTime = 2 * time.Second
	// leastRate is how many bytes a second a body must bring after stallTime.
	leastRate = 16 << 10
)

// endStalls ends the handlers' waits for senders that stall, until ctx ends. A handler whose body comes too slowly
// fails to read the rest, so that the sender gets an answer. An answer that the peer does not read fails to be
// written. A connection without a request is closed after stopTime. Over HTTP/2 that leaves time for a GOAWAY. Over
// HTTP/1 net/http accepts no more requests by then.
func (cs *connections) endStalls(ctx context.Context) {
	began := time.Now()
	for _, e := range cs.inFlight() {
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
			for _, c := range cs.removeUnused(now, began) {
				_ = c.Conn.Close()
			}
		}
	}
}

func (cs *connections) inFlight() []*exchange {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return slices.Collect(maps.Keys(cs.exchanges))
}

// expireStalled ends the waits of the handlers whose peers stall.
func (cs *connections) expireStalled(now, began time.Time) {
	for _, e := range cs.inFlight() {
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

// removeUnused removes the connections without a request, or only with requests whose handlers ignore the end of their
// wait. The caller closes the connections.
func (cs *connections) removeUnused(now, began time.Time) (unused []*conn) {
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
