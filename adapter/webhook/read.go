package webhook

import (
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"
)

// bodyReader reads bodies of up to limit bytes after decompression.
type bodyReader struct {
	limit   int64
	budget  *semaphore.Weighted // of bytes of all bodies being read or handled
	buffers sync.Pool           // of *[]byte
}

// body is a request's body. Its bytes are valid until it is released.
type body struct {
	bytes    []byte
	expected int64 // the length that the request declares, 0 if it says nothing
	reserved int64
}

const (
	// firstRead is how many bytes a request gets before any has come.
	firstRead = 16 << 10
	// keptBuffer bounds a buffer that is kept for the next request, in bytes. It
	// holds the largest batch that Segment makes by default, which is 4 MB.
	keptBuffer = 5 << 20
	// gzipSlack is how much longer than its data gzip may be. More is no honest
	// body: gzip makes what it cannot compress longer by a few bytes in a thousand.
	gzipSlack = 1 << 16
)

// errCompressedTooLong: the compressed bytes alone are more than the limit.
var errCompressedTooLong = errors.New("compressed body is too long")

// read reads the whole body and decompresses it if it is gzip. Segment's own
// requests are not compressed; those of gateways in between may be.
//
// Memory is given for what has come, not for what a request declares: otherwise
// strangers who declare much and send nothing could use up the budget of all.
func (br *bodyReader) read(r *http.Request) (*body, error) {
	if r.ContentLength > br.limit {
		return nil, br.tooLarge()
	}
	b := new(body)
	if kept, _ := br.buffers.Get().(*[]byte); kept != nil {
		b.bytes = (*kept)[:0]
	}
	if err := br.decode(b, r); err != nil {
		br.release(b)
		return nil, err
	}
	return b, nil
}

func (br *bodyReader) decode(b *body, r *http.Request) error {
	encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding")))
	switch encoding {
	case "", "identity":
		b.expected = max(r.ContentLength, 0)
		return br.fill(b, r.Body, "read the body")
	case "gzip", "x-gzip":
		unpacked, err := gzip.NewReader(&cappedReader{from: r.Body, left: br.limit + gzipSlack})
		if err != nil {
			return br.refuseRead(err, "unpack the gzip body", 0)
		}
		defer unpacked.Close()
		return br.fill(b, unpacked, "unpack the gzip body")
	default:
		return refuse(http.StatusUnsupportedMediaType, "Content-Encoding %q is not supported: send gzip or no encoding", bounded(encoding))
	}
}

// fill reads to the end of from, one byte beyond the limit at most.
func (br *bodyReader) fill(b *body, from io.Reader, doing string) error {
	for {
		if int64(len(b.bytes)) == b.reserved && !br.reserve(b) {
			return refuse(http.StatusServiceUnavailable, "too many large requests at once: send this request again")
		}
		n, err := from.Read(b.bytes[len(b.bytes):b.reserved])
		b.bytes = b.bytes[:len(b.bytes)+n]
		switch {
		case int64(len(b.bytes)) > br.limit:
			return br.tooLarge()
		case err == io.EOF:
			return nil
		case err != nil:
			return br.refuseRead(err, doing, len(b.bytes))
		}
	}
}

// reserve makes room for as many bytes again as there are, for the rest of a
// declared length if that is less, and reports whether the budget allows it.
func (br *bodyReader) reserve(b *body) bool {
	room := max(2*b.reserved, firstRead)
	if b.expected >= b.reserved {
		room = min(room, b.expected+1) // and one for the end to show
	}
	room = min(room, br.limit+1)
	if !br.budget.TryAcquire(room - b.reserved) {
		return false
	}
	b.reserved = room
	b.bytes = slices.Grow(b.bytes, int(room)-len(b.bytes))
	return true
}

// refuseRead answers for a body that cannot be read. Its own fault is 400, which
// Segment does not repeat; that it came too slowly is no fault of its events. The
// error's text goes into the answer only if it is about gzip: those of the network
// tell addresses.
func (br *bodyReader) refuseRead(err error, doing string, after int) error {
	var timeout net.Error
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, errCompressedTooLong):
		return br.tooLarge()
	case errors.As(err, &timeout) && timeout.Timeout():
		return refuse(http.StatusServiceUnavailable, "%s: it came too slowly, %d bytes in time: send this request again", doing, after)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(http.StatusBadRequest, "%s: it ends too early, after %d bytes", doing, after)
	case errors.Is(err, gzip.ErrHeader) && after == 0, err == io.EOF:
		return refuse(http.StatusBadRequest, "the body is not gzip, though Content-Encoding says so: %v", err)
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return refuse(http.StatusBadRequest, "%s: %v", doing, err)
	default:
		return refuse(http.StatusBadRequest, "%s: it broke off after %d bytes", doing, after)
	}
}

func (br *bodyReader) tooLarge() error {
	return refuse(http.StatusRequestEntityTooLarge, "the body is larger than %s: lower the batch size in Segment, or raise body_limit", size(br.limit))
}

// release gives the body's memory back.
func (br *bodyReader) release(b *body) {
	if 0 < cap(b.bytes) && cap(b.bytes) <= keptBuffer {
		kept := b.bytes[:0]
		br.buffers.Put(&kept)
	}
	br.budget.Release(b.reserved)
	b.bytes, b.reserved = nil, 0
}

// cappedReader fails with errCompressedTooLong beyond left bytes, where
// io.LimitReader would end.
type cappedReader struct {
	from io.Reader
	left int64
}

func (c *cappedReader) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errCompressedTooLong
	}
	n, err := c.from.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

func size(n int64) string {
	if n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}
