package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"segment-saasquatch/adapter"
)

// TestEveryAnswerIsCounted makes a request for every reason.
func TestEveryAnswerIsCounted(t *testing.T) {
	full := acceptFunc(func(context.Context, [][]byte) (adapter.Receipt, error) {
		return adapter.Receipt{}, &adapter.UnavailableError{Message: "the disk is full"}
	})
	pending := acceptFunc(func(context.Context, [][]byte) (adapter.Receipt, error) {
		return adapter.Receipt{Redeliver: true}, nil
	})
	broken := acceptFunc(func(context.Context, [][]byte) (adapter.Receipt, error) { panic("boom") })
	open := Credentials{Insecure: true}
	var seen []Request
	h, err := New([]Connection{
		{Name: "open", Path: "/open", Acceptor: mapAndDeliver(t), Credentials: open},
		{Name: "signed", Path: "/signed", Acceptor: mapAndDeliver(t),
			Credentials: Credentials{SharedSecrets: secrets("s")}},
		{Name: "full", Path: "/full", Acceptor: full, Credentials: open},
		{Name: "pending", Path: "/pending", Acceptor: pending, Credentials: open},
		{Name: "broken", Path: "/broken", Acceptor: broken, Credentials: open},
	}, Options{BodyLimit: 1 << 20, Memory: 1, Observe: func(r Request) { seen = append(seen, r) }})
	if err != nil {
		t.Fatal(err)
	}
	cut := failing{fmt.Errorf("read tcp: %w", os.ErrDeadlineExceeded)}
	for _, test := range []struct {
		method, path, header string
		body                 io.Reader
		want                 Request
	}{
		{"POST", "/open", "", strings.NewReader(good(1)), Request{"open", 200, ""}},
		{"PUT", "/open/", "", strings.NewReader(good(1)), Request{"open", 200, ""}},
		{"OPTIONS", "/open", "", http.NoBody, Request{"open", 204, ""}},
		{"POST", "/signed", "", strings.NewReader(good(1)), Request{"signed", 401, ReasonUnauthorized}},
		{"POST", "/open", "", strings.NewReader("x"), Request{"open", 400, ReasonInvalidBody}},
		{"POST", "/open", "gzip", strings.NewReader("x"), Request{"open", 400, ReasonInvalidBody}},
		{"POST", "/open", "", bytes.NewReader(make([]byte, 2<<20)), Request{"open", 413, ReasonTooLarge}},
		{"POST", "/open", "br", strings.NewReader("x"), Request{"open", 415, ReasonUnsupportedEncoding}},
		{"POST", "/open", "", cut, Request{"open", 503, ReasonBodyIncomplete}},
		{"POST", "/full", "", strings.NewReader(good(1)), Request{"full", 503, ReasonStoreUnavailable}},
		{"POST", "/pending", "", strings.NewReader(good(1)), Request{"pending", 503, ReasonNotDelivered}},
		{"POST", "/broken", "", strings.NewReader(good(1)), Request{"broken", 500, ReasonInternalError}},
		{"POST", "/elsewhere/1", "", http.NoBody, Request{"", 404, ReasonUnknownPath}},
		{"DELETE", "/open", "", http.NoBody, Request{"open", 405, ReasonMethodNotAllowed}},
	} {
		seen = nil
		serve(h, test.method, test.path, test.body, "Content-Encoding", test.header)
		if !slices.Equal(seen, []Request{test.want}) {
			t.Errorf("%s %s: counted %+v, want %+v", test.method, test.path, seen, test.want)
		}
	}
	seen = nil
	serve(h, "GET", "/healthz", http.NoBody)
	serve(h, "GET", "/readyz", http.NoBody)
	if len(seen) > 0 {
		t.Errorf("probes were counted: %+v", seen)
	}
}

// TestRefusedHeadersAreCounted sends what net/http answers itself.
func TestRefusedHeadersAreCounted(t *testing.T) {
	var mu sync.Mutex
	var seen []Request
	h := newHandler(t, mapAndDeliver(t), Options{Observe: func(r Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r)
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := serveAt(t, l, h)
	want := []Request{}
	for request, status := range map[string]int{
		"POST /segment HTTP/1.1\r\nno colon\r\n\r\n":                               400,
		"POST /segment HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n":     501,
		"POST /segment HTTP/3.0\r\nHost: x\r\n\r\n":                                505,
		"POST /segment HTTP/1.1\r\nX-Long: " + strings.Repeat("x", 2<<20) + "\r\n": 431,
	} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, request)
		if got, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(got), fmt.Sprint("HTTP/1.1 ", status)) {
			t.Errorf("got %q, %v", got, err)
		}
		c.Close()
		want = append(want, Request{Status: status, Reason: ReasonMalformedRequest})
	}
	stop()
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(seen, want) {
		t.Errorf("counted %+v, want %+v", seen, want)
	}
}

// TestSenderLeaves hangs up while the events are being accepted: that goes on, and the log
// and the count say that the sender has left.
func TestSenderLeaves(t *testing.T) {
	for name, test := range map[string]struct {
		receipt adapter.Receipt
		err     error
		want    Request
	}{
		"stored":        {want: Request{"test", 200, ReasonSenderLeft}},
		"not delivered": {receipt: adapter.Receipt{Redeliver: true}, want: Request{"test", 503, ReasonSenderLeft}},
		"not stored":    {err: errors.New("x"), want: Request{"test", 503, ReasonStoreUnavailable}},
	} {
		t.Run(name, func(t *testing.T) {
			core, logged := observer.New(zapcore.InfoLevel)
			accepting := make(chan struct{})
			seen := make(chan Request, 1)
			h := newHandler(t, acceptFunc(func(ctx context.Context, _ [][]byte) (adapter.Receipt, error) {
				close(accepting)
				<-ctx.Done() // the sender has left
				return test.receipt, test.err
			}), Options{Log: zap.New(core), Observe: func(r Request) { seen <- r }})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			stop := serveAt(t, l, h)
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(good(1)), good(1))
			<-accepting
			c.Close()
			if got := <-seen; got != test.want {
				t.Errorf("counted %+v, want %+v", got, test.want)
			}
			stop() // the line is logged last
			lines := logged.FilterMessage("request").All()
			if len(lines) != 1 || lines[0].ContextMap()["sender_left"] != true ||
				lines[0].ContextMap()["reason"] != string(test.want.Reason) {
				t.Errorf("logged %v", lines)
			}
		})
	}
}
