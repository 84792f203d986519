package httpserver

import (
	"bytes"
	"container/list"
	"crypto/tls"
	"net"
	"strconv"
	"sync/atomic"
	"time"
)

// conn is a connection that knows whether a request's header has come whole.
//
// bufio.Reader.ReadLine drops an error behind a part of a line and returns the part.
// net/http takes it for the whole line, although a timeout or the end of the
// connection came first, and answers 400 if it is malformed. The conn does not write
// this answer.
type conn struct {
	net.Conn
	discarder   *discarder
	connections *connections
	state       atomic.Int32
	refused     func(status int)
	silent      atomic.Bool // no byte has come since the accept or the last request

	// Guarded by connections.mu:
	requests int           // in the handler
	place    *list.Element // among those that wait for a request
	since    time.Time     // the accept, or the end of the last request
}

// States of a conn.
const (
	awaiting int32 = iota // no whole header has come since the last request
	brokeOff              // a read failed while awaiting
	refusing              // net/http answers while awaiting: it refuses the header
	handling              // a request has reached the handler
)

type connKey struct{}

// connOf returns the conn below what net/http serves, nil if it came from another
// listener.
func connOf(c net.Conn) *conn {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	found, _ := c.(*conn)
	return found
}

func (c *conn) awaitHeader() {
	if c != nil {
		c.state.Store(awaiting)
	}
}

func (c *conn) headerCame() {
	if c != nil {
		c.state.Store(handling)
	}
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.silent.CompareAndSwap(true, false) {
		c.connections.spoke(c)
	}
	if err != nil {
		// net/http reads ahead in another goroutine before it calls the handler. So
		// headerCame overrides this.
		c.state.CompareAndSwap(awaiting, brokeOff)
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	if c.state.Load() == brokeOff {
		return 0, net.ErrClosed
	}
	if bytes.HasPrefix(p, []byte("HTTP/1.")) && c.state.CompareAndSwap(awaiting, refusing) { // unlike a TLS handshake
		c.refused(statusOf(p))
	}
	return c.Conn.Write(p)
}

// statusOf returns the status of an answer of HTTP/1, 0 if it has none.
func statusOf(answer []byte) int {
	const version = "HTTP/1.1 "
	if len(answer) < len(version)+3 {
		return 0
	}
	status, _ := strconv.Atoi(string(answer[len(version):][:3]))
	return status
}

// CloseWrite is for net/http, which looks for it.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close closes the connection, after what is still coming if net/http has refused a
// header.
func (c *conn) Close() error {
	if c.state.CompareAndSwap(refusing, handling) {
		c.discarder.discard(c)
	}
	c.connections.remove(c)
	return c.Conn.Close()
}
