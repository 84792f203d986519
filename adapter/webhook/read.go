package webhook

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"
)

// bodyReader reads bodies of up to limit bytes after decompression.
type bodyReader struct {
	limit   int64
	budget  *semaphore.Weighted // of bytes in memory at once
	buffers sync.Pool           // of *bytes.Buffer
}

// body is a request's body. Its bytes are valid until it is released.
type body struct {
	bytes    []byte
	buffer   *bytes.Buffer
	reserved int64
}

// keptBuffer bounds a buffer that is kept for the next request, in bytes. It holds
// the largest batch that Segment makes by default, which is 4 MB.
const keptBuffer = 5 << 20

// read reads the whole body and decompresses it if it is gzip. Segment's own
// requests are not compressed; those of gateways in between may be.
func (br *bodyReader) read(r *http.Request) (*body, error) {
	if r.ContentLength > br.limit {
		return nil, br.tooLarge()
	}
	// Without a length, and with gzip, the body may be as large as the limit.
	reserved := br.limit
	encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding")))
	if r.ContentLength >= 0 && encoding == "" {
		reserved = r.ContentLength
	}
	if !br.budget.TryAcquire(reserved) {
		return nil, refuse(http.StatusServiceUnavailable, "too many large requests at once: send this request again")
	}
	buffer, _ := br.buffers.Get().(*bytes.Buffer)
	if buffer == nil {
		buffer = new(bytes.Buffer)
	}
	b := &body{buffer: buffer, reserved: reserved}
	if encoding == "" && r.ContentLength > 0 {
		buffer.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	if err := br.fill(buffer, r.Body, encoding); err != nil {
		br.release(b)
		return nil, err
	}
	b.bytes = buffer.Bytes()
	return b, nil
}

func (br *bodyReader) fill(buffer *bytes.Buffer, from io.Reader, encoding string) error {
	switch encoding {
	case "", "identity":
		return br.copy(buffer, from, "read the body")
	case "gzip", "x-gzip":
		// The compressed bytes are bounded too: gzip never makes data more than
		// a little longer.
		unpacked, err := gzip.NewReader(io.LimitReader(from, br.limit+(1<<16)))
		if err != nil {
			return refuse(http.StatusBadRequest, "the body is not gzip, though Content-Encoding says so: %v", err)
		}
		defer unpacked.Close()
		return br.copy(buffer, unpacked, "unpack the gzip body")
	default:
		return refuse(http.StatusUnsupportedMediaType, "Content-Encoding %q is not supported: send gzip or no encoding", bounded(encoding))
	}
}

func (br *bodyReader) copy(buffer *bytes.Buffer, from io.Reader, doing string) error {
	n, err := buffer.ReadFrom(io.LimitReader(from, br.limit+1))
	switch {
	case n > br.limit:
		return br.tooLarge()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(http.StatusBadRequest, "%s: it ends too early, after %d bytes", doing, n)
	case err != nil:
		return refuse(http.StatusBadRequest, "%s: %v", doing, err)
	}
	return nil
}

func (br *bodyReader) tooLarge() error {
	return refuse(http.StatusRequestEntityTooLarge, "the body is larger than %s: lower the batch size in Segment, or raise body_limit", size(br.limit))
}

// release gives the body's memory back.
func (br *bodyReader) release(b *body) {
	if b.buffer.Cap() <= keptBuffer {
		b.buffer.Reset()
		br.buffers.Put(b.buffer)
	}
	br.budget.Release(b.reserved)
	b.bytes, b.buffer = nil, nil
}

func size(n int64) string {
	if n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}
