package httpserver

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
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
func (d *discarder) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(connKey{}).(*conn)
		c.headerCame()
		if r.ProtoMajor != 1 || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		body := &requestBody{ReadCloser: r.Body}
		r.Body = body
		next.ServeHTTP(&responseWriter{ResponseWriter: w, body: body}, r)
		if body.ended {
			return
		}
		closeUnread(w.Header(), body) // of a handler that has not written
		control := http.NewResponseController(w)
		flushErr := control.Flush()
		// A hijacked connection is no request under way for Shutdown, and net/http does
		// not read from it.
		hijacked, _, err := control.Hijack()
		if err != nil {
			return
		}
		defer hijacked.Close()
		if flushErr == nil {
			d.discard(hijacked)
		}
	})
}

// discard says that no more is written, and reads within the bounds until the peer
// closes too. It does nothing if too many connections are read already.
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
	if c.SetReadDeadline(deadline) != nil {
		return
	}
	unregister := context.AfterFunc(d.stopped, func() {
		if latest := time.Now().Add(stopTime); latest.Before(deadline) {
			_ = c.SetReadDeadline(latest)
		}
	})
	defer unregister()
	_, _ = io.CopyN(io.Discard, c, d.bytes)
}

// requestBody notes whether the body has been read to its end.
type requestBody struct {
	io.ReadCloser
	ended bool
}

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.ended = true
	}
	return n, err
}

// responseWriter announces that the connection is closed after an answer that comes
// before the end of the body.
type responseWriter struct {
	http.ResponseWriter
	body    *requestBody
	written bool
}

// closeUnread has the end of the connection end an answer without a length, because
// net/http writes no last chunk to a connection that is hijacked.
func closeUnread(header http.Header, body *requestBody) {
	if body.ended {
		return
	}
	header.Set("Connection", "close")
	if header.Get("Content-Length") == "" {
		header.Set("Transfer-Encoding", "identity")
	}
}

func (w *responseWriter) WriteHeader(status int) {
	if !w.written && status >= http.StatusOK {
		w.written = true
		closeUnread(w.Header(), w.body)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseWriter) Write(p []byte) (int, error) {
	if !w.written {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// Flush is for handlers that look for it.
func (w *responseWriter) Flush() {
	if !w.written {
		w.WriteHeader(http.StatusOK)
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for [http.ResponseController].
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
