package archive

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// answers is a transport that gives one answer after the other, the last for ever.
type answers struct {
	list []any // a status, a status with Retry-After: 20, or an error
	sent int
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	next := a.list[min(a.sent, len(a.list)-1)]
	a.sent++
	header := http.Header{}
	status, isStatus := next.(int)
	if !isStatus {
		return nil, next.(error)
	}
	if status < 0 {
		status = -status
		header.Set("Retry-After", "20")
	}
	body := `{"error":{"message":"the reason"}}`
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)),
		Request: r}, nil
}

// TestGoogleRetries holds the requests that are repeated against those that are not.
func TestGoogleRetries(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for name, c := range map[string]struct {
		answers     []any
		sent        int // at least
		most        int
		least, last time.Duration // how long it takes
		status      int           // of the error, 0 for none
		err         error
	}{
		"at once": {answers: []any{200}, sent: 1, most: 1},
		"after an outage": {answers: []any{503, 500, refused, io.ErrUnexpectedEOF, 408, 200}, sent: 6,
			most: 6, least: 15 * time.Second, last: 31 * time.Second},
		"slow down": {answers: []any{-429, 200}, sent: 2, most: 2, least: 20 * time.Second,
			last: 20 * time.Second},
		"a long outage": {answers: []any{503}, sent: 6, most: 7, least: 15 * time.Second, last: patience,
			status: 503},
		"a longer rest": {answers: []any{-503}, sent: 3, most: 3, least: 40 * time.Second, last: patience,
			status: 503},
		"no server": {answers: []any{refused}, sent: 6, most: 7, least: 15 * time.Second,
			last: patience, err: syscall.ECONNREFUSED},
		"no bucket":     {answers: []any{404}, sent: 1, most: 1, status: 404},
		"no permission": {answers: []any{403}, sent: 1, most: 1, status: 403},
		"no such host": {answers: []any{&net.DNSError{IsNotFound: true}}, sent: 1, most: 1,
			err: &net.DNSError{IsNotFound: true}},
		"another kind of fault": {answers: []any{errors.ErrUnsupported}, sent: 1, most: 1, err: errors.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := &answers{list: c.answers}
				b := &googleBucket{client: &http.Client{Transport: from}, url: "http://storage/b/o"}
				started := time.Now()
				_, err := b.list(t.Context(), query{size: 1})
				var dns *net.DNSError
				failed := c.status != 0 || c.err != nil
				if (err != nil) != failed || statusOf(err) != c.status {
					t.Errorf("error %v", err)
				}
				if c.err != nil && !errors.Is(err, c.err) && !errors.As(err, &dns) {
					t.Errorf("error %v, want %v", err, c.err)
				}
				if c.status != 0 && !strings.Contains(err.Error(), "the reason") {
					t.Errorf("error %v does not say why", err)
				}
				if from.sent < c.sent || from.sent > c.most {
					t.Errorf("%d requests, want %d to %d", from.sent, c.sent, c.most)
				}
				if took := time.Since(started); took < c.least || took > c.last {
					t.Errorf("it takes %v, want %v to %v", took, c.least, c.last)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		b := &googleBucket{client: &http.Client{Transport: &answers{list: []any{503}}}}
		if _, err := b.list(ctx, query{size: 1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("interrupted while it waits: %v", err)
		}
	})
}
