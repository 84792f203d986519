package httpserver

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// insecure is for clients in a bubble. It is the year 2000 there, when no certificate of the tests is valid yet.
func insecure(protocols ...string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: protocols}
}

// handshake returns a connection after its handshake.
func handshake(t *testing.T, p *pipes, protocols ...string) *tls.Conn {
	t.Helper()
	c := tls.Client(p.dial(), insecure(protocols...))
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c
}

// send writes text, as far as the server reads it.
func send(c net.Conn, text string) net.Conn {
	go func() { _, _ = io.WriteString(c, text) }()
	return c
}

// sendAndDrip writes text, and then a byte a second.
func sendAndDrip(c net.Conn, text string) net.Conn {
	go func() {
		_, _ = io.WriteString(c, text)
		drip(c)
	}()
	return c
}

// ask makes a request without a body on a connection that stays open.
func ask(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusUnauthorized {
		t.Fatalf("got %d, %v", response.StatusCode, err)
	}
}

// sender is a kind of connection. It needs a certificate if it is secure.
type sender struct {
	secure bool
	open   func(*testing.T, *pipes) net.Conn
}

// waitingSenders are the kinds of connections without a request in the handler.
var waitingSenders = map[string]sender{
	"silent":     {false, func(_ *testing.T, p *pipes) net.Conn { return p.dial() }},
	"keep-alive": {false, func(t *testing.T, p *pipes) net.Conn { c := p.dial(); ask(t, c); return c }},
	"a part of a header": {false, func(_ *testing.T, p *pipes) net.Conn {
		return send(p.dial(), "POST / HTTP/1.1\r\nX-A: ")
	}},
	"a header that drips": {false, func(_ *testing.T, p *pipes) net.Conn {
		return sendAndDrip(p.dial(), "POST / HTTP/1.1\r\nX-A: ")
	}},
	"read after the answer": {false, func(t *testing.T, p *pipes) net.Conn {
		c := p.dial()
		post(t, c, 1<<30)
		return c
	}},
	"refused, and still read": {false, func(t *testing.T, p *pipes) net.Conn {
		c := send(p.dial(), "no header\r\n\r\n")
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "HTTP/1.1 400 Bad Request\r\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		return c
	}},
	"no handshake": {true, func(_ *testing.T, p *pipes) net.Conn { return p.dial() }},
	"a part of a handshake": {true, func(_ *testing.T, p *pipes) net.Conn {
		return send(p.dial(), "\x16\x03\x01\x02\x00\x01")
	}},
	"silent after handshake": {true, func(t *testing.T, p *pipes) net.Conn { return handshake(t, p) }},
	"keep-alive over TLS": {true, func(t *testing.T, p *pipes) net.Conn {
		c := handshake(t, p)
		ask(t, c)
		return c
	}},
	"HTTP/2 without preface": {true, func(t *testing.T, p *pipes) net.Conn { return handshake(t, p, "h2") }},
	"HTTP/2 without streams": {true, func(t *testing.T, p *pipes) net.Conn { return dialHTTP2(t, p).conn }},
	"HTTP/2 with a part of a header": {true, func(t *testing.T, p *pipes) net.Conn {
		f := dialHTTP2(t, p)
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1,
			BlockFragment: header("POST", "/")}); err != nil {
			t.Fatal(err)
		}
		return f.conn
	}},
}

// TestWaitingSendersAreEvicted: at the limit of connections, a good request is served at once, whatever the others do.
func TestWaitingSendersAreEvicted(t *testing.T) {
	const limit = 8
	certFile, keyFile, _ := writePair(t, t.TempDir(), "one")
	for name, kind := range waitingSenders {
		t.Run(name, func(t *testing.T) {
			opts := Options{Connections: limit}
			if kind.secure {
				opts.CertFile, opts.KeyFile = certFile, keyFile
			}
			bubble(t, refuse, opts, func(t *testing.T, s *Server, p *pipes) {
				for range 3 * limit {
					defer kind.open(t, p).Close()
				}
				synctest.Wait()
				began := time.Now()
				if kind.secure {
					goodHTTP2(t, p)
				} else {
					c := p.dial()
					defer c.Close()
					ask(t, c)
				}
				if took := time.Since(began); took > 0 {
					t.Errorf("a good request took %s", took)
				}
				synctest.Wait()
				if open, shed := s.Connections(); open > limit || shed < 2*limit+1 {
					t.Errorf("%d connections are open, %d were closed", open, shed)
				}
			})
		})
	}
}

// isOpen reports whether the server keeps a connection open that sends nothing more.
func isOpen(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	return errors.Is(err, syscall.ETIMEDOUT) || err != io.EOF && !errors.Is(err, io.ErrClosedPipe)
}

// TestLongestWithoutProgressGoesFirst: a request and the first byte of the next one are progress, further bytes are
// not.
func TestLongestWithoutProgressGoesFirst(t *testing.T) {
	bubble(t, refuse, Options{Connections: 4}, func(t *testing.T, _ *Server, p *pipes) {
		dripping, used, begun, silent := p.dial(), p.dial(), p.dial(), p.dial()
		write := func(c net.Conn, text string) {
			time.Sleep(time.Millisecond)
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatal(err)
			}
		}
		write(dripping, "P")
		write(used, "G")
		write(used, "ET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(used), nil); err != nil {
			t.Fatal(err)
		}
		write(begun, "P")
		write(dripping, "O")
		for i, want := range []net.Conn{silent, dripping, used, begun} {
			defer p.dial().Close()
			synctest.Wait()
			if isOpen(want) {
				t.Errorf("new connection %d: the one to evict is open", i)
			}
		}
	})
}

// TestRequestsKeepTheirConnections: a request in the handler keeps its connection. The next connection waits, and is
// served as soon as one of the requests ends.
func TestRequestsKeepTheirConnections(t *testing.T) {
	const limit = 4
	var release chan struct{} // made in the bubble
	var handling atomic.Int64
	handler := func(w http.ResponseWriter, r *http.Request) {
		handling.Add(1)
		<-release
		// Nothing is left to write when the handler returns; see the hole of connections.
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusUnauthorized)
		_ = http.NewResponseController(w).Flush()
	}
	bubble(t, handler, Options{Connections: limit}, func(t *testing.T, s *Server, p *pipes) {
		release = make(chan struct{})
		asked := make(chan struct{})
		for range limit + 1 {
			c := p.dial()
			defer c.Close()
			go func() { ask(t, c); asked <- struct{}{} }()
			synctest.Wait()
		}
		if open, shed := s.Connections(); open != limit || shed != 0 || handling.Load() != limit {
			t.Errorf("%d open, %d closed, %d in the handler", open, shed, handling.Load())
		}
		release <- struct{}{}
		<-asked
		synctest.Wait()
		if open, shed := s.Connections(); open != limit || shed != 1 || handling.Load() != limit+1 {
			t.Errorf("after one has ended: %d open, %d closed, %d in the handler", open, shed, handling.Load())
		}
		close(release)
		for range limit {
			<-asked
		}
	})
}

// outOfFiles is a listener for which the process cannot open a file once.
type outOfFiles struct {
	*pipes
	fail chan struct{}
}

func (l *outOfFiles) Accept() (net.Conn, error) {
	select {
	case <-l.fail:
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// TestOutOfFiles: if the process cannot open another file, a connection without a request is closed below the limit.
func TestOutOfFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(newServer(refuse), Options{})
		if err != nil {
			t.Fatal(err)
		}
		l := &outOfFiles{pipes: &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})},
			fail: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		first, second := l.dial(), l.dial()
		defer second.Close()
		synctest.Wait()
		l.fail <- struct{}{}
		synctest.Wait()
		if isOpen(first) || !isOpen(second) {
			t.Error("only the first connection should be closed")
		}
		ask(t, l.dial())
		if err := errors.Join(s.Close(), <-served); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}
