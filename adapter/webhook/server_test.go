package webhook

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/httpserver"
)

// serveAt serves a Handler until stop, with the limits that the serve command sets.
func serveAt(t *testing.T, l net.Listener, h *Handler) (stop func()) {
	t.Helper()
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second}
	s, err := httpserver.New(server, httpserver.Options{Refused: h.CountRefused})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	return func() {
		if err := errors.Join(s.Shutdown(context.Background()), <-served); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}
}

// TestEveryRefusalArrives sends whole requests of some megabytes, and reads only then.
func TestEveryRefusalArrives(t *testing.T) {
	const limit = 1 << 20
	credentials := Credentials{SharedSecrets: secrets("s")}
	broken := acceptFunc(func(context.Context, [][]byte) (adapter.Receipt, error) { panic("boom") })
	h, err := New([]Connection{
		{Path: "/signed", Acceptor: mapAndDeliver(t), Credentials: credentials},
		{Path: "/bearer", Acceptor: mapAndDeliver(t), Credentials: Credentials{BearerTokens: secrets("t")}},
		{Path: "/open", Acceptor: mapAndDeliver(t), Credentials: Credentials{Insecure: true}},
		{Path: "/broken", Acceptor: broken, Credentials: Credentials{Insecure: true}},
	}, Options{BodyLimit: limit, Memory: 1})
	if err != nil {
		t.Fatal(err)
	}
	h.SetReady(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer serveAt(t, l, h)()

	spaces := strings.Repeat(" ", 9<<20)
	zeros := "X-Signature: " + strings.Repeat("0", 40)
	bomb := gzipped(strings.Repeat(spaces, 10)) + spaces[:limit/2]
	for _, test := range []struct {
		request, header, body string
		status                int
	}{
		{"POST /signed", "", spaces, 401},                           // no signature
		{"POST /signed", "X-Signature: zz", spaces, 401},            // not one
		{"POST /signed", zeros, spaces[:limit], 401},                // a wrong one, after the body
		{"POST /bearer", "", spaces, 401},                           // no token
		{"POST /bearer", "Authorization: x", spaces, 401},           // no Bearer
		{"POST /signed/x", "", spaces, 404},                         // no such path
		{"OPTIONS /signed/x", "", spaces, 404},                      //
		{"GET /open", "", spaces, 405},                              // no such method
		{"DELETE /open", "", spaces, 405},                           //
		{"OPTIONS /open", "", spaces, 204},                          //
		{"POST /open", "", spaces, 413},                             // too large
		{"POST /open", "Content-Encoding: gzip", bomb, 413},         // too large once unpacked
		{"POST /open", "Content-Encoding: br", spaces[:limit], 415}, //
		{"POST /open", "", spaces[:limit], 400},                     // nothing in it
		{"POST /broken", "", good(1) + spaces[:limit/2], 500},
		{"GET /healthz", "", spaces, 200},
		{"POST /healthz", "", spaces, 405},
		{"OPTIONS /healthz", "", spaces, 204},
		{"HEAD /readyz", "", spaces, 200},
		{"PUT /readyz", "", spaces, 405},
	} {
		for _, framing := range []string{"length", "chunked"} {
			checkArrives(t, l.Addr().String(), framing, test.request, test.header, test.body, test.status)
		}
	}

	// No memory is left for bodies.
	checkMemoryIsFree(t, h)
	large := &h.reader.memory.large
	if !large.bodies.TryAcquire(large.room) {
		t.Fatal("bytes are still reserved")
	}
	t.Run("no memory", func(t *testing.T) { // each request waits for memory, side by side
		for _, framing := range []string{"length", "chunked"} {
			for header, body := range map[string]string{
				"": spaces[:limit], "Content-Encoding: gzip": gzipped(spaces[:limit]),
			} {
				t.Run(framing+" "+header, func(t *testing.T) {
					t.Parallel()
					checkArrives(t, l.Addr().String(), framing, "POST /open", header, body, 503)
				})
			}
		}
	})
	large.bodies.Release(large.room)
}

func checkArrives(t *testing.T, address, framing, request, header, body string, status int) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	lines := []string{request + " HTTP/1.1", "Host: x", "Connection: close", "X-Framing: " + framing}
	if header != "" {
		lines = append(lines, header)
	}
	if framing == "chunked" {
		lines = append(lines, "Transfer-Encoding: chunked")
		body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	} else {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	if n, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n\r\n"+body); err != nil {
		t.Errorf("%s %s, want %d: reset after %d bytes: %v", request, framing, status, n, err)
		return
	}
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Errorf("%s %s, want %d: %v", request, framing, status, err)
		return
	}
	text, err := io.ReadAll(response.Body)
	whole := method == http.MethodHead || int64(len(text)) == max(response.ContentLength, 0)
	if err != nil || response.StatusCode != status || !whole {
		t.Errorf("%s %s: got %d %s, %v, want %d", request, framing, response.StatusCode, text, err, status)
	}
}

// pipes is a listener with connections in memory.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accepted:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestSlowBodiesAreSentAgain stalls inside a body. The answer is 503, after which
// Segment sends the request again.
func TestSlowBodiesAreSentAgain(t *testing.T) {
	for _, header := range []string{
		"Content-Length: %d\r\n\r\n",
		"Content-Length: %d\r\nContent-Encoding: gzip\r\n\r\n",
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n%x\r\n",
		"Transfer-Encoding: chunked\r\n\r\n1",
	} {
		body := good(1)
		if strings.Contains(header, "gzip") {
			body = gzipped(body)
		}
		length := len(body)
		header = strings.NewReplacer("%d", strconv.Itoa(length), "%x", strconv.FormatInt(int64(length),
			16)).Replace(header)
		for _, n := range []int{0, 1, len(body) / 2} {
			synctest.Test(t, func(t *testing.T) {
				h := newHandler(t, acceptFunc(func(context.Context, [][]byte) (adapter.Receipt, error) {
					t.Error("accepted")
					return adapter.Receipt{}, nil
				}), Options{})
				p := &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})}
				defer serveAt(t, p, h)()
				client, server := net.Pipe()
				defer client.Close()
				p.accepted <- server
				began := time.Now()
				go func() { _, _ = io.WriteString(client, "POST /segment HTTP/1.1\r\nHost: x\r\n"+header+body[:n]) }()
				got, err := io.ReadAll(client)
				text := strings.TrimPrefix(string(got), "HTTP/1.1 100 Continue\r\n\r\n")
				if err != nil || !strings.HasPrefix(text, "HTTP/1.1 503 ") || !strings.HasSuffix(text,
					"send this request again\"}\n") {
					t.Errorf("%q and %d bytes: got %q, %v", header, n, got, err)
				}
				if took := time.Since(began); took < stallTime ||
					took > stallTime+time.Second+httpserver.DefaultDiscardTime {
					t.Errorf("%q and %d bytes: it took %s", header, n, took)
				}
			})
		}
	}
}
