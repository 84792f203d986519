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

// conn is a connection that knows whether a complete request header has arrived.
//
// bufio.Reader.ReadLine drops an error after a part of a line and returns the part. net/http takes the part for the
// whole line, even after a timeout or the end of the connection. It answers 400 if the part is malformed. The conn
// does not write this answer.
type conn struct {
	net.Conn
	discarder   *discarder
	connections *connections
	state       atomic.Int32
	refused     func(status int)
	silent      atomic.Bool // no byte has arrived since the accept or the last request

	// Guarded by connections.mu:
	requests int           // in the handler
	waiting  *list.Element // in connections.waiting, nil while a request is in the handler
	since    time.Time     // the accept, or the end of the last request
}

// States of a conn.
const (
	awaiting int32 = iota // no complete header has arrived since the last request
	brokeOff              // a read failed while awaiting
	refusing              // net/http answers while awaiting: it refuses the header
	handling              // a request has reached the handler
)

type connKey struct{}

// connOf returns the conn below a connection that net/http serves, nil if it came from another listener.
func connOf(c net.Conn) *conn {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	found, _ := c.(*conn)
	return found
}

func (c *conn) setState(state int32) {
	if c != nil {
		c.state.Store(state)
	}
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.silent.CompareAndSwap(true, false) {
		c.connections.progress(c)
	}
	if err != nil {
		// net/http reads ahead in another goroutine before it calls the handler. The handler then sets another state.
		c.state.CompareAndSwap(awaiting, brokeOff)
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	if c.state.Load() == brokeOff {
		return 0, net.ErrClosed
	}
	if bytes.HasPrefix(p, []byte("HTTP/1.")) && c.state.CompareAndSwap(awaiting, refusing) { // no TLS handshake
		c.refused(statusOf(p))
	}
	return c.Conn.Write(p)
}

// statusOf returns the status of an HTTP/1 answer, 0 if it has none.
func statusOf(answer []byte) int {
	const version = "HTTP/1.1 "
	if len(answer) < len(version)+3 {
		return 0
	}
	status, _ := strconv.Atoi(string(answer[len(version):][:3]))
	return status
}

// CloseWrite is for net/http, which looks for this method.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close closes the connection. If net/http has refused a header, it first discards the rest of the request.
func (c *conn) Close() error {
	if c.state.CompareAndSwap(refusing, handling) {
		c.discarder.discard(c)
	}
	c.connections.remove(c)
	return c.Conn.Close()
}
