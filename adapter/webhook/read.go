package webhook

import (
	"bytes"
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

// newBodyReader returns a bodyReader whose budget is readLimit, but at least what
// the largest compressed body needs while it is unpacked.
func newBodyReader(limit, readLimit int64) *bodyReader {
	least := limit + gzipSlack + 1 + limit + 1
	return &bodyReader{limit: limit, budget: semaphore.NewWeighted(max(readLimit, least))}
}

// body is a request's body. Its bytes are valid until it is released.
type body struct {
	bytes    []byte
	limit    int64
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

// read reads the whole body and decompresses it if it is gzip. Segment's own
// requests are not compressed; those of gateways in between may be.
//
// Memory is given for what has come, not for what a request declares or what it
// may unpack to: otherwise strangers who declare much and send nothing could use
// up the budget of all.
func (br *bodyReader) read(r *http.Request) (*body, error) {
	if r.ContentLength > br.limit {
		return nil, br.tooLarge()
	}
	zipped, err := isGzip(r.Header)
	if err != nil {
		return nil, err
	}
	if !zipped {
		return br.receive(r, br.limit)
	}
	packed, err := br.receive(r, br.limit+gzipSlack)
	if err != nil {
		return nil, err
	}
	defer br.release(packed)
	return br.unpack(packed.bytes)
}

// isGzip reports whether the body is gzip. Content-Encoding is a list, on one line or
// several, in which identity and empty elements mean nothing (RFC 9110, 5.6.1 and
// 8.4). Gateways add identity.
func isGzip(header http.Header) (bool, error) {
	lines := header.Values("Content-Encoding")
	zipped, supported := false, true
	for _, line := range lines {
		for coding := range strings.SplitSeq(line, ",") {
			switch strings.ToLower(strings.TrimSpace(coding)) {
			case "", "identity":
			case "gzip", "x-gzip":
				supported = supported && !zipped
				zipped = true
			default:
				supported = false
			}
		}
	}
	if !supported {
		return false, refuse(http.StatusUnsupportedMediaType,
			"Content-Encoding %q is not supported: send gzip or no encoding", bounded(strings.ToLower(strings.Join(lines, ", "))))
	}
	return zipped, nil
}

// receive reads the body as it is sent.
func (br *bodyReader) receive(r *http.Request, limit int64) (*body, error) {
	b := br.newBody(limit)
	b.expected = max(r.ContentLength, 0)
	if err := br.fill(b, r.Body); err != nil {
		err = refuseTransit(err, len(b.bytes))
		br.release(b)
		return nil, err
	}
	return b, nil
}

// unpack decompresses a body that has come whole.
func (br *bodyReader) unpack(packed []byte) (*body, error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, refuseGzip(err, 0)
	}
	b := br.newBody(br.limit)
	if err := br.fill(b, unpacked); err != nil {
		err = refuseGzip(err, len(b.bytes))
		br.release(b)
		return nil, err
	}
	return b, nil
}

func (br *bodyReader) newBody(limit int64) *body {
	b := &body{limit: limit}
	if kept, _ := br.buffers.Get().(*[]byte); kept != nil {
		b.bytes = (*kept)[:0]
	}
	return b
}

// fill reads to the end of from, one byte beyond the limit at most. An error of
// from comes back as it is.
func (br *bodyReader) fill(b *body, from io.Reader) error {
	for {
		if int64(len(b.bytes)) == b.reserved && !br.reserve(b) {
			return refuseFor(ReasonTooManyBodies, http.StatusServiceUnavailable, "too many large requests at once: send this request again")
		}
		n, err := from.Read(b.bytes[len(b.bytes):b.reserved])
		b.bytes = b.bytes[:len(b.bytes)+n]
		switch {
		case int64(len(b.bytes)) > b.limit:
			return br.tooLarge()
		case err == io.EOF:
			return nil
		case err != nil:
			return err
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
	room = min(room, b.limit+1)
	if !br.budget.TryAcquire(room - b.reserved) {
		return false
	}
	b.reserved = room
	b.bytes = slices.Grow(b.bytes, int(room)-len(b.bytes))
	return true
}

// refuseTransit answers for a body that did not come whole, after the given number
// of bytes. That is no fault of its events, and a proxy may pass the answer on to a
// sender that has them still: with 400 they would be lost. The error's text stays
// out of the answer, because it tells addresses.
func refuseTransit(err error, after int) error {
	var refused *requestError
	var timeout net.Error
	switch {
	case errors.As(err, &refused):
		return err
	case errors.As(err, &timeout) && timeout.Timeout():
		return refuse(http.StatusServiceUnavailable, "read the body: it came too slowly, %d bytes in time: send this request again", after)
	default:
		return refuse(http.StatusServiceUnavailable, "read the body: it broke off after %d bytes: send this request again", after)
	}
}

// refuseGzip answers for a body that came whole but cannot be unpacked beyond the
// given number of bytes. No repetition makes it better.
func refuseGzip(err error, after int) error {
	var refused *requestError
	switch {
	case errors.As(err, &refused):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(http.StatusBadRequest, "unpack the gzip body: it ends too early, after %d bytes", after)
	case errors.Is(err, gzip.ErrHeader) && after == 0, err == io.EOF:
		return refuse(http.StatusBadRequest, "the body is not gzip, though Content-Encoding says so: %v", err)
	default: // of gzip or flate, which tell offsets only
		return refuse(http.StatusBadRequest, "unpack the gzip body: %v", err)
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

func size(n int64) string {
	if n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}
