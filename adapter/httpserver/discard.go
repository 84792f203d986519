package httpserver

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"runtime"
	"time"

	"golang.org/x/sync/semaphore"
)

// discarder reads what senders still send after their answers. A connection that is
// closed while it has unread bytes is reset, and a reset can take the answer from a
// sender that writes its whole request first (RFC 9112, 9.6). net/http reads 256 KB
// at most, and waits for half a second.
type discarder struct {
	bytes   int64
	time    time.Duration
	size    int64
	slots   *semaphore.Weighted
	stopped context.Context
	stop    context.CancelFunc
}

// stopTime is how long a connection is read after its answer once the server stops.
const stopTime = time.Second

const (
	// discardRate is how many bytes a sender must send to have a second more.
	discardRate = 16 << 10
	// discardStep is how far the connection's deadline may lag behind, which saves moving
	// it for each read.
	discardStep = 500 * time.Millisecond
)

func newDiscarder(opts Options) *discarder {
	d := &discarder{
		bytes: opts.DiscardBytes, time: opts.DiscardTime,
		size: opts.Discards, slots: semaphore.NewWeighted(opts.Discards),
	}
	d.stopped, d.stop = context.WithCancel(context.Background())
	return d
}

// wait waits until no connection is read any more, or ctx ends.
func (d *discarder) wait(ctx context.Context) {
	if d.slots.Acquire(ctx, d.size) == nil {
		d.slots.Release(d.size)
	}
}

// handler closes a connection whose request was answered before its body had come,
// once the rest of it has come.
func (s *Server) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(connKey{}).(*conn)
		c.headerCame()
		control := http.NewResponseController(w)
		e := &exchange{conn: c, control: control, began: time.Now()}
		writer := &responseWriter{ResponseWriter: w, exchange: e}
		var unread *requestBody // nil if the body's end does not matter to the connection
		if r.Body != http.NoBody {
			body := &requestBody{ReadCloser: r.Body, exchange: e}
			r.Body = body
			if r.ProtoMajor == 1 {
				unread, writer.body = body, body
			}
		}
		s.serve(next, writer, r, e)
		if unread == nil || unread.ended {
			return
		}
		closeUnread(w.Header(), unread) // of a handler that has not written
		flushErr := control.Flush()
		// A hijacked connection is no request under way for Shutdown, and net/http does
		// not read from it.
		hijacked, _, err := control.Hijack()
		if err != nil {
			return
		}
		defer hijacked.Close()
		if flushErr == nil {
			s.discarder.discard(hijacked)
		}
	})
}

// serve calls the handler, and notes when it begins and returns.
func (s *Server) serve(next http.Handler, w http.ResponseWriter, r *http.Request, e *exchange) {
	s.connections.begin(e)
	defer func() {
		e.end()
		s.connections.end(e)
	}()
	next.ServeHTTP(w, r)
}

// discard says that no more is written, and reads within the bounds until the peer
// closes too. A sender that keeps sending has up to three times as long as one that
// stalls: one of many large requests takes a while until it gets to its answer. It does
// nothing if too many connections are read already.
func (d *discarder) discard(c net.Conn) {
	if !d.slots.TryAcquire(1) {
		return
	}
	defer d.slots.Release(1)
	deadline := time.Now().Add(d.time)
	if secure, ok := c.(*tls.Conn); ok {
		_ = secure.CloseWrite()
		c = secure.NetConn() // what is discarded need not be decrypted
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	latest := deadline.Add(2 * d.time)
	if c.SetReadDeadline(deadline) != nil {
		return
	}
	unregister := context.AfterFunc(d.stopped, func() {
		_ = c.SetReadDeadline(time.Now().Add(stopTime)) // discard sets no other from now on
	})
	defer unregister()
	var buffer [8 << 10]byte
	for left := d.bytes; left > 0; {
		n, err := c.Read(buffer[:min(left, int64(len(buffer)))])
		if err != nil {
			return
		}
		left -= int64(n)
		// Otherwise a fast sender takes a whole time slice, and hundreds of them seconds.
		runtime.Gosched()
		later := deadline.Add(time.Duration(n) * time.Second / discardRate)
		if latest.Before(later) {
			later = latest
		}
		if later.Truncate(discardStep).After(deadline.Truncate(discardStep)) && d.stopped.Err() == nil {
			_ = c.SetReadDeadline(later)
			if d.stopped.Err() != nil { // since then
				_ = c.SetReadDeadline(time.Now().Add(stopTime))
			}
		}
		deadline = later
	}
}
