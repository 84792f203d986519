package httpserver

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// exchange is a request in the handler, and its answer. It knows whether the handler waits for the sender, so that the
// shutdown does not wait for a sender that stalls.
type exchange struct {
	conn    *conn // nil if it came from another listener
	control *http.ResponseController
	began   time.Time

	received atomic.Int64 // bytes of the body
	reading  atomic.Bool  // the handler waits for the body
	writing  atomic.Int64 // how long after began the handler began to wait for the peer to read; 0 if it does not

	mu            sync.Mutex
	ended         bool
	readExpired   time.Time // the deadline of reads, once the server set one
	writeExpired  time.Time // the deadline of writes, once the server set one
	receivedSoFar int64     // bytes of the body when the server began to stop
}

// expireRead makes reads of the body fail from now on.
func (e *exchange) expireRead(now time.Time) {
	e.expire(&e.readExpired, e.control.SetReadDeadline, now)
}

// expireWrite makes writes of the answer fail from now on.
func (e *exchange) expireWrite(now time.Time) {
	e.expire(&e.writeExpired, e.control.SetWriteDeadline, now)
}

func (e *exchange) expire(expired *time.Time, setDeadline func(time.Time) error, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.ended && expired.IsZero() { // the controller is only valid while the handler runs
		*expired = now
		_ = setDeadline(now)
	}
}

// write notes that the handler waits for the peer to read. The function that it returns ends the wait.
func (e *exchange) write() (written func()) {
	e.writing.Store(int64(max(time.Since(e.began), 1)))
	return func() { e.writing.Store(0) }
}

// stuck reports whether the handler waits for the peer although the deadline for that was before t.
func (e *exchange) stuck(t time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := func(expired time.Time) bool { return !expired.IsZero() && expired.Before(t) }
	return before(e.readExpired) && e.reading.Load() || before(e.writeExpired) && e.writing.Load() != 0
}

func (e *exchange) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
}

// requestBody notes how much of the body has been read, and whether that was all.
type requestBody struct {
	io.ReadCloser
	exchange *exchange
	ended    bool
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.exchange.reading.Store(true)
	n, err := b.ReadCloser.Read(p)
	b.exchange.reading.Store(false)
	b.exchange.received.Add(int64(n))
	if err == io.EOF {
		b.ended = true
	}
	return n, err
}

// responseWriter announces that the connection is closed after an answer that comes before the end of the body.
type responseWriter struct {
	http.ResponseWriter
	exchange *exchange
	body     *requestBody // nil if the connection stays open
	written  bool
}

// closeUnread announces that the connection is closed, if the body has not ended. The end of the connection then ends
// an answer without a length, because net/http writes no last chunk to a hijacked connection.
func closeUnread(header http.Header, body *requestBody) {
	if body == nil || body.ended {
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
	defer w.exchange.write()()
	return w.ResponseWriter.Write(p)
}

// Flush is for handlers that look for this method.
func (w *responseWriter) Flush() {
	if !w.written {
		w.WriteHeader(http.StatusOK)
	}
	defer w.exchange.write()()
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for [http.ResponseController].
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
