package httpserver

import (
	"context"
	"crypto/tls"
	"net"
	"runtime"
	"time"

	"golang.org/x/sync/semaphore"
)

// discarder reads and discards the bytes that senders still send after their answers (a lingering close). A connection
// that is closed while it has unread bytes is reset. A reset can take the answer from a sender that writes its whole
// request first (RFC 9112, section 9.6). net/http reads 256 KB at most and waits for half a second.
type discarder struct {
	bytes   int64
	time    time.Duration
	size    int64
	slots   *semaphore.Weighted
	stopped context.Context
	stop    context.CancelFunc
}

const (
	// stopTime is how long a connection is read after its answer once the server stops.
	stopTime = time.Second
	// discardRate is how many bytes a sender must send to get another second.
	discardRate = 16 << 10
	// discardStep is how far the connection's deadline may lag behind. It saves setting the deadline for each read.
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

// wait waits until no connection is read any more or ctx ends.
func (d *discarder) wait(ctx context.Context) {
	if d.slots.Acquire(ctx, d.size) == nil {
		d.slots.Release(d.size)
	}
}

// discard closes the connection for writing, and reads within the limits until the peer closes it too. A sender that
// keeps sending has up to three times as long as one that stalls: it may have many large requests to send before it
// reads its answer. discard does nothing if too many connections are read already.
func (d *discarder) discard(c net.Conn) {
	if !d.slots.TryAcquire(1) {
		return
	}
	defer d.slots.Release(1)
	deadline := time.Now().Add(d.time)
	if secure, ok := c.(*tls.Conn); ok {
		_ = secure.CloseWrite()
		c = secure.NetConn() // discarded bytes need no decryption
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	latest := deadline.Add(2 * d.time)
	if c.SetReadDeadline(deadline) != nil {
		return
	}
	unregister := context.AfterFunc(d.stopped, func() {
		_ = c.SetReadDeadline(time.Now().Add(stopTime)) // discard sets no later one from now on
	})
	defer unregister()
	var buffer [8 << 10]byte
	for left := d.bytes; left > 0; {
		n, err := c.Read(buffer[:min(left, int64(len(buffer)))])
		if err != nil {
			return
		}
		left -= int64(n)
		// Otherwise a fast sender takes a whole time slice, and hundreds of them take seconds.
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
