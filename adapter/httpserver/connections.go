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

// connections limits the open connections of a server.
//
// At the limit a new connection replaces a waiting one. A connection waits while no request of it is in the handler;
// the one that has made no progress for longest is closed. Progress is the accept, the first byte after it, and the
// end of a request. More bytes of the same header are no progress, so a sender cannot stay by sending one byte at a
// time. Idle connections thus go before slow headers, which end by themselves after ReadHeaderTimeout. A connection
// that is only read after its answer counts as waiting.
//
// A request in the handler never loses its connection. If every connection has one, the next connection is accepted
// when one of them ends. The holes: while it waits, one connection more than the limit is open. And net/http writes
// the rest of an answer after the handler has returned. A connection that is evicted in that moment loses it, and the
// sender sends the request again.
type connections struct {
	limit  int
	log    *zap.Logger
	notice rate.Sometimes

	mu        sync.Mutex
	changed   sync.Cond // signalled when a connection begins to wait or is removed
	open      map[*conn]struct{}
	waiting   *list.List // of *conn, the longest without progress first
	exchanges map[*exchange]struct{}
	shed      uint64
	closed    bool // the server takes no new connections
}

// noticeEvery is the least time between two log messages about the limit.
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

// add adds a new connection. At the limit it closes a waiting one, or blocks until there is one. It returns false if
// the server stops first.
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
		victim = cs.evict()
	}
	cs.open[c] = struct{}{}
	cs.startWaiting(c)
	shed := cs.shed
	cs.mu.Unlock()
	if victim != nil {
		_ = victim.Conn.Close()
		cs.notice.Do(func() {
			cs.log.Warn("the limit of open connections is reached: "+
				"those that wait longest without a request are closed; "+
				"raise the process's limit of open files, or max_open_connections",
				zap.Int("limit", cs.limit), zap.Uint64("closed_so_far", shed))
		})
	}
	return true
}

// evict removes the waiting connection that has made no progress for longest, and returns nil if there is none. The
// caller closes it, and holds the lock.
func (cs *connections) evict() *conn {
	oldest := cs.waiting.Front()
	if oldest == nil {
		return nil
	}
	c := oldest.Value.(*conn)
	cs.forget(c)
	cs.shed++
	return c
}

// startWaiting notes that no request of a connection is in the handler. The caller holds the lock.
func (cs *connections) startWaiting(c *conn) {
	c.since = time.Now()
	c.waiting = cs.waiting.PushBack(c)
	c.silent.Store(true)
}

// stopWaiting notes that a request is in the handler or the connection is closed. The caller holds the lock.
func (cs *connections) stopWaiting(c *conn) {
	if c.waiting != nil {
		cs.waiting.Remove(c.waiting)
		c.waiting = nil
	}
}

// outOfFiles closes a waiting connection because the process cannot open another file. net/http tries again after some
// milliseconds.
func (cs *connections) outOfFiles() {
	cs.mu.Lock()
	victim := cs.evict()
	cs.mu.Unlock()
	if victim != nil {
		_ = victim.Conn.Close()
	}
}

// progress notes the first byte on a waiting connection.
func (cs *connections) progress(c *conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c.waiting != nil {
		cs.waiting.MoveToBack(c.waiting)
	}
}

// begin notes a request that has reached the handler.
func (cs *connections) begin(e *exchange) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.exchanges[e] = struct{}{}
	if e.conn != nil {
		e.conn.requests++
		cs.stopWaiting(e.conn)
	}
}

// end notes that the handler has returned.
func (cs *connections) end(e *exchange) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.exchanges, e)
	if e.conn == nil {
		return
	}
	e.conn.requests--
	if _, open := cs.open[e.conn]; open && e.conn.requests == 0 {
		cs.startWaiting(e.conn)
		cs.changed.Signal()
	}
}

// remove notes that a connection is closed.
func (cs *connections) remove(c *conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.forget(c)
}

// forget removes a connection. The caller holds the lock.
func (cs *connections) forget(c *conn) {
	delete(cs.open, c)
	cs.stopWaiting(c)
	cs.changed.Signal()
}

// close makes add return false from now on.
func (cs *connections) close() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.closed = true
	cs.changed.Broadcast()
}

// listener turns every connection into a conn and limits their number.
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
