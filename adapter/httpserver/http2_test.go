package httpserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frames is an HTTP/2 client that can break the protocol.
type frames struct {
	*http2.Framer
	conn net.Conn
}

// dialHTTP2 returns a client after a handshake. It reads and discards the answers.
func dialHTTP2(t *testing.T, p *pipes, settings ...http2.Setting) *frames {
	t.Helper()
	c := tls.Client(p.dial(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := &frames{http2.NewFramer(c, c), c}
	go func() { _, _ = io.Copy(io.Discard, c) }()
	if err := f.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return f
}

// header encodes the header of a request.
func header(method, path string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", method}, {":path", path}, {":scheme", "https"},
		{":authority", "x"}} {
		_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	return block.Bytes()
}

// request begins stream n with a header. The body stays open unless the stream ends.
func (f *frames) request(n int, path string, ends bool) error {
	return f.WriteHeaders(http2.HeadersFrameParam{
		StreamID: uint32(2*n + 1), BlockFragment: header("POST", path), EndHeaders: true, EndStream: ends,
	})
}

// goodHTTP2 makes a request on a new connection and returns how long it took.
func goodHTTP2(t *testing.T, p *pipes) time.Duration {
	t.Helper()
	began := time.Now()
	transport := &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(context.Context, string, string) (net.Conn, error) { return p.dial(), nil },
	}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Post("https://x/read", "",
		bytes.NewReader(make([]byte, 1<<10)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 || response.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %s %d", response.Proto, response.StatusCode)
	}
	return time.Since(began)
}

// TestHTTP2Floods: a client that floods its connection does not keep others from their answers. The server serves the
// connection or closes it.
func TestHTTP2Floods(t *testing.T) {
	certFile, keyFile, _ := writePair(t, t.TempDir(), "one")
	var handling, most atomic.Int64
	handler := func(w http.ResponseWriter, r *http.Request) {
		for n := handling.Add(1); n > most.Load(); {
			most.Store(n)
		}
		defer handling.Add(-1)
		refuse(w, r)
	}
	for name, flood := range map[string]func(*testing.T, *frames){
		"rapid reset": func(t *testing.T, f *frames) {
			for n := range 2_000 {
				if err := errors.Join(f.request(n, "/read", false),
					f.WriteRSTStream(uint32(2*n+1), http2.ErrCodeCancel)); err != nil {
					return // the server has closed the connection
				}
			}
		},
		"continuation": func(t *testing.T, f *frames) {
			err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: header("POST", "/")})
			for range 1000 {
				// A field without an entry in the table: a name and a value of 7 bits of length.
				field := append([]byte{0, 1, 'a', 126}, bytes.Repeat([]byte{'x'}, 126)...)
				if err = errors.Join(err, f.WriteContinuation(1, false, bytes.Repeat(field, 110))); err != nil {
					return
				}
			}
			t.Error("the server accepted 14 MB of header")
		},
		"large frame": func(t *testing.T, f *frames) {
			if err := errors.Join(f.request(0, "/read", false),
				f.WriteData(1, false, make([]byte, 32<<10))); err == nil {
				synctest.Wait()
				err = f.WritePing(false, [8]byte{})
				if err == nil {
					t.Error("the server accepted a frame of 32 KB")
				}
			}
		},
		"open streams": func(t *testing.T, f *frames) {
			for n := range 400 {
				if err := f.request(n, "/read", false); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			if n := handling.Load(); n != 250 {
				t.Errorf("%d requests are handled at once", n)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			most.Store(0)
			bubble(t, handler, Options{CertFile: certFile, KeyFile: keyFile}, func(t *testing.T, _ *Server, p *pipes) {
				f := dialHTTP2(t, p)
				defer f.conn.Close()
				flood(t, f)
				if took := goodHTTP2(t, p); took > time.Second {
					t.Errorf("a good request took %s", took)
				}
				if most.Load() > 251 {
					t.Errorf("%d requests were handled at once", most.Load())
				}
			})
		})
	}
}

// TestSlowHeaders: 2000 senders drip their headers during good requests.
func TestSlowHeaders(t *testing.T) {
	bubble(t, refuse, Options{}, func(t *testing.T, _ *Server, p *pipes) {
		for n := range 2000 {
			c := p.dial()
			defer c.Close()
			if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nX-%d: ", n); err != nil {
				t.Fatal(err)
			}
			go drip(c)
		}
		for range 2 {
			began := time.Now()
			post(t, p.dial(), 1)
			if took := time.Since(began); took > 0 {
				t.Errorf("a good request took %s", took)
			}
			time.Sleep(time.Second / 2)
		}
	})
}
