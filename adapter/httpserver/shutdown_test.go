package httpserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// stalls are the kinds of senders with a request that a stopping server does not wait for.
var stalls = map[string]sender{
	"in the body": {false, func(_ *testing.T, p *pipes) net.Conn {
		return send(p.dial(), upload+"Content-Length: 999999\r\n\r\nabc")
	}},
	"in a chunk": {false, func(_ *testing.T, p *pipes) net.Conn {
		return send(p.dial(), upload+"Transfer-Encoding: chunked\r\n\r\n9\r\n")
	}},
	"before 100 continues": {false, func(_ *testing.T, p *pipes) net.Conn {
		return send(p.dial(), upload+"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n")
	}},
	"a body that drips": {false, func(_ *testing.T, p *pipes) net.Conn {
		return sendAndDrip(p.dial(), upload+"Content-Length: 999999\r\n\r\n")
	}},
	"answer unread": {false, func(_ *testing.T, p *pipes) net.Conn {
		return send(p.dial(), "GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
	}},
	"half-closed in the body": {false, func(_ *testing.T, p *pipes) net.Conn {
		client, server := net.Pipe()
		p.accepted <- &halfOpen{server, strings.NewReader(upload + "Content-Length: 9\r\n\r\nabc")}
		return client
	}},
	"HTTP/2 in the body": {true, func(t *testing.T, p *pipes) net.Conn {
		f := dialHTTP2(t, p)
		if err := f.request(0, "/read", false); err != nil {
			t.Fatal(err)
		}
		return f.conn
	}},
	"HTTP/2 without a window": {true, func(t *testing.T, p *pipes) net.Conn {
		f := dialHTTP2(t, p, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		for n, path := range []string{"/", "/long"} {
			if err := f.request(n, path, true); err != nil {
				t.Fatal(err)
			}
		}
		return f.conn
	}},
	"HTTP/2 unread": {true, func(t *testing.T, p *pipes) net.Conn {
		c := handshake(t, p, "h2")
		return send(c, http2.ClientPreface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"+rawRequest("/long"))
	}},
}

const upload = "POST /read HTTP/1.1\r\nHost: x\r\n"

// rawRequest returns the frame of a request over HTTP/2.
func rawRequest(path string) string {
	var frame strings.Builder
	_ = http2.NewFramer(&frame, nil).WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: header("POST", path), EndHeaders: true, EndStream: true,
	})
	return frame.String()
}

// work reads the body, works, and answers. It refuses requests for / over HTTP/1.
func work(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" && r.ProtoMajor == 1 {
		refuse(w, r)
		return
	}
	switch n, err := io.Copy(io.Discard, r.Body); {
	case err != nil:
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.URL.Path == "/long":
		_, _ = w.Write(make([]byte, 1<<20))
	case r.URL.Path == "/work":
		time.Sleep(12 * time.Second)
		fmt.Fprintf(w, "worked on %d bytes", n)
	}
}

// TestShutdownWaitsForNoStall stops a server with six senders of each kind that stalls, a request in the handler, and
// a body that arrives fast enough.
func TestShutdownWaitsForNoStall(t *testing.T) {
	certFile, keyFile, _ := writePair(t, t.TempDir(), "one")
	for _, kinds := range []map[string]sender{waitingSenders, stalls} {
		for name, kind := range kinds {
			t.Run(name, func(t *testing.T) {
				opts := Options{}
				if kind.secure {
					opts.CertFile, opts.KeyFile = certFile, keyFile
				}
				bubble(t, work, opts, func(t *testing.T, s *Server, p *pipes) {
					for range 6 {
						defer kind.open(t, p).Close()
					}
					honest := func() net.Conn {
						if kind.secure {
							return handshake(t, p)
						}
						return p.dial()
					}
					var good sync.WaitGroup
					expect := func(c net.Conn, want string) {
						response, err := http.ReadResponse(bufio.NewReader(c), nil)
						if err != nil {
							t.Errorf("the good request %q: %v", want, err)
							return
						}
						if text, err := io.ReadAll(response.Body); err != nil || string(text) != want {
							t.Errorf("the good request %q: got %q, %v", want, text, err)
						}
					}
					good.Go(func() {
						c := honest()
						_, _ = io.WriteString(c, "GET /work HTTP/1.1\r\nHost: x\r\n\r\n")
						expect(c, "worked on 0 bytes")
					})
					good.Go(func() {
						const part, parts = 20 << 10, 10
						c := honest()
						_, _ = fmt.Fprintf(c, "POST /work HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
							part*parts)
						for range parts {
							time.Sleep(time.Second)
							if _, err := c.Write(make([]byte, part)); err != nil {
								t.Errorf("the body that is fast enough: %v", err)
							}
						}
						expect(c, fmt.Sprintf("worked on %d bytes", part*parts))
					})
					time.Sleep(time.Second / 2)
					synctest.Wait()
					ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
					defer cancel()
					began := time.Now()
					if err := s.Shutdown(ctx); err != nil {
						t.Error(err)
					}
					if took := time.Since(began); took > 25*time.Second {
						t.Errorf("it took %s", took)
					}
					good.Wait()
				})
			})
		}
	}
}

// TestShutdownIsQuickBesideStalls: without good requests a shutdown takes some seconds at most, and a sender that
// stalls in its body over HTTP/1 gets an answer.
func TestShutdownIsQuickBesideStalls(t *testing.T) {
	certFile, keyFile, _ := writePair(t, t.TempDir(), "one")
	check := func(name string, kind sender, most time.Duration, answered bool) {
		t.Run(name, func(t *testing.T) {
			opts := Options{}
			if kind.secure {
				opts.CertFile, opts.KeyFile = certFile, keyFile
			}
			bubble(t, work, opts, func(t *testing.T, s *Server, p *pipes) {
				c := kind.open(t, p)
				defer c.Close()
				var got sync.WaitGroup
				if answered {
					got.Go(func() {
						text, _ := io.ReadAll(c)
						if !strings.HasPrefix(strings.TrimPrefix(string(text), "HTTP/1.1 100 Continue\r\n\r\n"),
							"HTTP/1.1 503 ") {
							t.Errorf("the sender got %q", text)
						}
					})
				}
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				began := time.Now()
				if err := s.Shutdown(ctx); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > most {
					t.Errorf("it took %s", took)
				}
				got.Wait()
			})
		})
	}
	for name, kind := range waitingSenders {
		check(name, kind, 2*time.Second, false)
	}
	for name, kind := range stalls {
		check(name, kind, 5*time.Second, !kind.secure && name != "answer unread")
	}
}
