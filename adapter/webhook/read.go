package webhook

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// bodyReader reads bodies of up to limit bytes after decompression.
type bodyReader struct {
	limit   int64
	memory  *memory
	buffers buffers
	unzips  sync.Pool // of *gzip.Reader
	now     func() time.Time
}

// body is a request's body. Its bytes are valid until its release.
type body struct {
	bytes    []byte
	began    time.Time
	expected int64     // the declared length, 0 if there is none
	stranger *stranger // has the reservation until the sender is verified, then nil
	held     int64     // memory of the bytes and of the gzip.Reader
	pool     *pool
	reserved int64 // of the pool
}

const (
	// gzipSlack is how much longer than its data gzip may be. An honest body has less: gzip lengthens incompressible
	// data by a few bytes in a thousand.
	gzipSlack = 1 << 16
	// gzipMemory is the approximate memory of a gzip.Reader, in bytes.
	gzipMemory = 48 << 10
)

// arrival is a request whose body is to be read.
type arrival struct {
	*http.Request
	// connection controls the connection of the request. The reader moves its read deadline.
	connection *http.ResponseController
	// remote is the address of the sender.
	remote netip.Addr
	// vouches reports whether the beginning of an arriving body already verifies its sender. It is nil if the headers
	// have done so.
	vouches func(beginning []byte) bool
}

// read reads the whole body, and decompresses gzip as it arrives. Segment's own requests are not compressed; those of
// gateways in between may be.
//
// It reserves memory for the bytes that have arrived, not for the declared length. Bodies have a part of the memory of
// their own until their signature is verified.
func (br *bodyReader) read(a *arrival) (*body, error) {
	if a.ContentLength > br.limit {
		return nil, br.tooLarge()
	}
	zipped, err := isGzip(a.Header)
	if err != nil {
		return nil, err
	}
	b := &body{began: br.now()}
	if a.vouches != nil {
		b.stranger = newStranger(a.remote, a.connection, b.began)
	}
	came := newTransit(a, b.stranger, br.now)
	if zipped {
		came.limit = br.limit + gzipSlack
		err = br.unpack(b, came, a)
	} else {
		b.expected = max(a.ContentLength, 0)
		err = refuseTransit(br.fill(b, came, came, a), came)
	}
	if err == nil {
		err = br.memory.strangers.complete(b.stranger)
	}
	if err != nil {
		br.release(b)
		b = nil
	}
	came.end() // last, because an eviction moves the deadline too
	return b, err
}

// isGzip reports whether the body is gzip. Content-Encoding is a list, on one line or several, in which identity and
// empty elements mean nothing (RFC 9110, 5.6.1 and 8.4). Gateways add identity.
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
			"Content-Encoding %q is not supported: send gzip or no encoding",
			bounded(strings.ToLower(strings.Join(lines, ", "))))
	}
	return zipped, nil
}

// unpack decompresses a body while it arrives.
func (br *bodyReader) unpack(b *body, came *transit, a *arrival) error {
	if err := br.memory.grow(a.Context(), b, gzipMemory, br.now()); err != nil {
		return err
	}
	unzip, _ := br.unzips.Get().(*gzip.Reader)
	if unzip == nil {
		unzip = new(gzip.Reader)
	}
	defer br.unzips.Put(unzip)
	err := unzip.Reset(came)
	if err == nil {
		err = br.fill(b, unzip, came, a)
	}
	switch {
	case err == nil:
		return nil
	case came.err != nil:
		return refuseTransit(came.err, came)
	case came.limit < came.received:
		return br.tooLarge()
	default:
		return refuseGzip(err, len(b.bytes))
	}
}

// fill reads to the end of from, at most one byte beyond the limit. It returns an error of from unchanged.
func (br *bodyReader) fill(b *body, from io.Reader, came *transit, a *arrival) error {
	for {
		if len(b.bytes) == cap(b.bytes) {
			since := br.now()
			if err := br.makeRoom(b, a); err != nil {
				return err
			}
			came.pause(br.now().Sub(since)) // a body is not late while it is not read
		}
		n, err := from.Read(b.bytes[len(b.bytes):min(int64(cap(b.bytes)), br.limit+1)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		switch {
		case int64(len(b.bytes)) > br.limit:
			return br.tooLarge()
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// makeRoom reserves a larger buffer, or one for the rest of the declared length if that is less. Only when the buffer
// is full it tries to verify the sender by the beginning, which keeps the cost in proportion to the length.
func (br *bodyReader) makeRoom(b *body, a *arrival) error {
	if b.stranger != nil && a.vouches(b.bytes) {
		if err := br.memory.admit(a.Context(), b); err != nil {
			return err
		}
	}
	capacity := nextCapacity(int64(cap(b.bytes)))
	if b.expected >= int64(len(b.bytes)) {
		capacity = min(capacity, capacityFor(b.expected+1)) // one byte more for the EOF
	}
	capacity = min(capacity, capacityFor(br.limit+1))
	if err := br.memory.grow(a.Context(), b, capacity-int64(cap(b.bytes)), br.now()); err != nil {
		return err
	}
	larger := append(br.buffers.get(capacity), b.bytes...)
	br.buffers.put(b.bytes)
	b.bytes = larger
	return nil
}

// refuseTransit refuses an incomplete body with 503. The events are not at fault, and a proxy may pass the answer on
// to a sender that still has them: after 400 they would be lost. The answer leaves out the error's text, which has
// addresses.
func refuseTransit(err error, came *transit) error {
	timeout, _ := errors.AsType[net.Error](err)
	switch {
	case err == nil || isRefused(err):
		return err
	case came.stranger.isEvicted():
		return errStrangers
	case timeout != nil && timeout.Timeout():
		return refuse(http.StatusServiceUnavailable,
			"read the body: it came too slowly, %d bytes in time: send this request again", came.received)
	default:
		return refuse(http.StatusServiceUnavailable,
			"read the body: it broke off after %d bytes: send this request again", came.received)
	}
}

func isRefused(err error) bool {
	_, refused := errors.AsType[*requestError](err)
	return refused
}

// refuseGzip refuses a body that cannot be unpacked beyond the given number of bytes, although it arrived as it was
// sent. A retry does not help.
func refuseGzip(err error, after int) error {
	switch {
	case isRefused(err):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(http.StatusBadRequest, "unpack the gzip body: it ends too early, after %d bytes", after)
	case errors.Is(err, gzip.ErrHeader) && after == 0, err == io.EOF:
		return refuse(http.StatusBadRequest, "the body is not gzip, though Content-Encoding says so: %v", err)
	default: // errors of gzip and flate contain only offsets
		return refuse(http.StatusBadRequest, "unpack the gzip body: %v", err)
	}
}

func (br *bodyReader) tooLarge() error {
	return refuse(http.StatusRequestEntityTooLarge,
		"the body is larger than %s: lower the batch size in Segment, or raise body_limit", size(br.limit))
}

// release releases the body's memory.
func (br *bodyReader) release(b *body) {
	br.buffers.put(b.bytes)
	br.memory.release(b)
	b.bytes = nil
}

func size(n int64) string {
	if n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}
