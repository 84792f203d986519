package webhook

import (
	"errors"
	"io"
	"net/http"
	"runtime"
	"time"
)

// errCompressedTooLong is internal: unpack checks the limit too.
var errCompressedTooLong = errors.New("the compressed body is too long")

const (
	// leastRate is the least rate of a body in the long run, in bytes a second.
	leastRate = 16 << 10
	// stallTime bounds the time in which a body may be slower.
	stallTime = 2 * time.Second
	// bodyTime bounds the time of a whole body.
	bodyTime = 30 * time.Second
)

// transit reads a body from its connection, and ends a body that stalls. Each byte extends the deadline by its time at
// leastRate, to at most stallTime from now, however many bytes have arrived before. The connection must support read
// deadlines; net/http's do.
type transit struct {
	from       io.Reader
	connection *http.ResponseController
	stranger   *stranger // nil for a verified sender
	now        func() time.Time
	deadline   time.Time // of the next byte
	latest     time.Time // of the last byte
	set        time.Time // the deadline that the connection has
	limit      int64     // of received, 0 for none
	received   int64
	err        error // of the connection, nil at the end of the body
}

func newTransit(a *arrival, s *stranger, now func() time.Time) *transit {
	began := now()
	return &transit{from: a.Body, connection: a.connection, stranger: s, now: now,
		deadline: began.Add(stallTime), latest: began.Add(bodyTime)}
}

// deadlineStep bounds how far the connection's deadline may lag behind, so that not every read moves it.
const deadlineStep = stallTime / 8

func (t *transit) Read(p []byte) (int, error) {
	if 0 < t.limit && t.limit < t.received {
		return 0, errCompressedTooLong
	}
	next := t.deadline
	if t.latest.Before(next) {
		next = t.latest
	}
	if d := next.Sub(t.set); d < 0 || d > deadlineStep {
		t.set = next
		_ = t.connection.SetReadDeadline(next) // only tests have none
	}
	if t.stranger.isEvicted() { // checked after the deadline is set, which may undo the eviction's
		t.err = errStrangers
		return 0, t.err
	}
	n, err := t.from.Read(p)
	if t.stranger != nil && t.received > 0 {
		runtime.Gosched() // so that other senders need not wait for hundreds of fast strangers
	}
	now := t.now()
	t.received += int64(n)
	t.deadline = t.deadline.Add(time.Duration(n) * time.Second / leastRate)
	if most := now.Add(stallTime); most.Before(t.deadline) {
		t.deadline = most
	}
	if err != nil && err != io.EOF {
		t.err = err
	}
	return n, err
}

// pause extends the deadlines by a time in which the body was not read.
func (t *transit) pause(d time.Duration) {
	t.deadline, t.latest = t.deadline.Add(d), t.latest.Add(d)
}

// end removes the deadline: net/http goes on reading from the connection, to see whether the sender hangs up.
func (t *transit) end() {
	_ = t.connection.SetReadDeadline(time.Time{})
}
