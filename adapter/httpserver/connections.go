package httpserver

import (
	"container/list"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// connections bounds the open connections of a server.
//
// At the limit a new connection takes the place of another: of those without a request in
// the handler, the one that has made no progress for longest. Progress is the accept, the
// first byte that comes afterwards, and the end of a request. More bytes of the same header
// are none, so a sender cannot keep its place by dripping. Thus idle connections go first,
// since a slow header ends by itself after ReadHeaderTimeout. A connection that is only
// read after its answer counts as idle.
//
// A request in the handler never loses its connection. If all connections have one, the
// next connection is accepted when one of them ends. The hole: one connection more than
// the limit is open while it waits for its place.
type connections struct {
	limit  int
	log    *zap.Logger
	notice rate.Sometimes

	mu        sync.Mutex
	changed   sync.Cond // one of those below has changed
	open      map[*conn]struct{}
	waiting   *list.List // of *conn without a request in the handler, the next to go first
	exchanges map[*exchange]struct{}
	shed      uint64
	closed    bool // no connection waits for its place any more
}

// noticeEvery is how often the log tells that the limit is reached.
const noticeEvery = 10 * time.Second

func newConnections(limit int, log *zap.Logger) *connections {
	cs := &connections{
		limit: limit, log: log, notice: rate.Sometimes{Interval: noticeEvery},
		open: make(map[*conn]struct{}), waiting: list.New(), exchanges: make(map[*exchange]struct{}),
	}
	cs.changed.L = &cs.mu
	return cs
}

func (cs *connections) count() (open int, shed uint64) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.open), cs.shed
}

// add gives a new connection its place. It waits for one if every connection has a
// request in the handler, and reports whether there is one.
func (cs *connections) add(c *conn) bool {
	cs.mu.Lock()
	for !cs.closed && len(cs.open) >= cs.limit && cs.waiting.Len() == 0 {
		cs.changed.Wait()
	}
	if cs.closed {
		cs.mu.Unlock()
		return false
	}
	var victim *conn
	if len(cs.open) >= cs.limit {
		victim = cs.shedOldest()
	}
	cs.open[c] = struct{}{}
	c.since = time.Now()
	c.place = cs.waiting.PushBack(c)
	c.silent.Store(true)
	cs.mu.Unlock()
	if victim != nil {
		_ = victim.Conn.Close()
		cs.notice.Do(func() {
			_, shed := cs.count()
			cs.log.Warn("the limit of open connections is reached: those that wait longest without a request are closed; "+
				"raise the process's limit of open files, or max_open_connections",
				zap.Int("limit", cs.limit), zap.Uint64("closed_so_far", shed))
		})
	}
	return true
}

// shedOldest takes the connection that is the next to go out of the books, nil if every
// one has a request in the handler. The caller closes it, and holds the lock.
func (cs *connections) shedOldest() *conn {
	oldest := cs.waiting.Front()
	if oldest == nil {
		return nil
	}
	c := oldest.Value.(*conn)
	cs.forget(c)
	cs.shed++
	return c
}

// outOfFiles closes a connection because the process cannot open another file. net/http
// tries again after some milliseconds.
func (cs *connections) outOfFiles() {
	cs.mu.Lock()
	victim := cs.shedOldest()
	cs.mu.Unlock()
	if victim != nil {
		_ = victim.Conn.Close()
	}
}

// spoke notes the first byte on a connection that waits for a request.
func (cs *connections) spoke(c *conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c.place != nil {
		cs.waiting.MoveToBack(c.place)
	}
}

// begin notes a request that has reached the handler.
func (cs *connections) begin(e *exchange) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.exchanges[e] = struct{}{}
	c := e.conn
	if c == nil {
		return
	}
	c.requests++
	if c.place != nil {
		cs.waiting.Remove(c.place)
		c.place = nil
	}
}

// end notes that the handler has returned.
func (cs *connections) end(e *exchange) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.exchanges, e)
	c := e.conn
	if c == nil {
		return
	}
	c.requests--
	if _, open := cs.open[c]; !open || c.requests > 0 {
		return
	}
	c.since = time.Now()
	c.place = cs.waiting.PushBack(c)
	c.silent.Store(true)
	cs.changed.Signal()
}

// remove notes that a connection is closed.
func (cs *connections) remove(c *conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.forget(c)
}

func (cs *connections) forget(c *conn) {
	delete(cs.open, c)
	if c.place != nil {
		cs.waiting.Remove(c.place)
		c.place = nil
	}
	cs.changed.Signal()
}

// close ends the wait for a place.
func (cs *connections) close() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.closed = true
	cs.changed.Broadcast()
}

// listener makes every connection a conn, and bounds their number.
type listener struct {
	net.Listener
	discarder   *discarder
	connections *connections
	refused     func(status int)
}

func (l *listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			l.connections.outOfFiles()
		}
		return nil, err
	}
	c := &conn{Conn: accepted, discarder: l.discarder, connections: l.connections, refused: l.refused}
	if !l.connections.add(c) {
		_ = accepted.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

// Close stops listening.
func (l *listener) Close() error {
	l.connections.close()
	return l.Listener.Close()
}
