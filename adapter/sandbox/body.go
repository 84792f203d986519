package sandbox

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"sync"
)

const (
	// maxBody bounds a request's body, in bytes. SaaSquatch publishes no limit. Assumed: 1 MiB.
	maxBody = 1 << 20
	// maxDrained bounds how much of a larger body is read, in bytes, so that its client can get the answer. net/http
	// closes the connection if more is left.
	maxDrained = 8 << 20
)

// readBody reads the whole body into memory of its own, because accepted events keep pointing into it.
func readBody(r *http.Request) ([]byte, *apiError) {
	var body []byte
	var err error
	switch n := r.ContentLength; {
	case n == 0:
		return nil, nil
	case n > 0 && n <= maxBody:
		body = make([]byte, n)
		_, err = io.ReadFull(r.Body, body)
	case n < 0:
		body, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	}
	if err != nil {
		return nil, badRequest("The body cannot be read.")
	}
	if r.ContentLength > maxBody || len(body) > maxBody {
		// An error does not matter: a client that stops sending gets no answer anyway.
		_, _ = io.CopyN(io.Discard, r.Body, maxDrained)
		return nil, errTooLarge
	}
	return body, nil
}

// isJSON reports whether a Content-Type is application/json, with any parameters.
func isJSON(contentType string) bool {
	if contentType == "application/json" {
		return true
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	return mediaType == "application/json" && (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter))
}

// scratch is memory that requests reuse.
type scratch struct {
	reader reader
	events []parsedEvent
	out    []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// maxScratch is the largest buffer that is kept for the next request, in bytes.
const maxScratch = 64 << 10

// free gives the scratch back. It drops all pointers to a request's body.
func (s *scratch) free() {
	s.reader.release()
	clear(s.events)
	s.events = s.events[:0]
	if cap(s.out) > maxScratch {
		s.out = nil
	}
	scratches.Put(s)
}
