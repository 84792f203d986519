package httpserver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const answerText = `{"message":"no"}`

// refuse answers without reading the body, except for the path /read.
func refuse(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/silent":
		return
	case "/streaming": // and of unknown length
		w.WriteHeader(http.StatusUnauthorized)
		for i := range answerText {
			_, _ = io.WriteString(w, answerText[i:i+1])
			w.(http.Flusher).Flush()
		}
		return
	case "/read":
		_, _ = io.Copy(io.Discard, r.Body)
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(answerText)))
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = io.WriteString(w, answerText)
}

func newServer(handler http.HandlerFunc) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: log.New(io.Discard, "", 0),
	}
}

// start serves refuse at a TCP address, by HTTPS if there is a certificate.
func start(t *testing.T, opts Options) (address string) {
	t.Helper()
	s, err := New(newServer(refuse), opts)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(context.Background()), <-served); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// chunked is a body of n bytes in chunks.
func chunked(n int) string {
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<16, strings.Repeat(" ", 1<<16))
	return strings.Repeat(chunk, n>>16) + "0\r\n\r\n"
}

// TestAnswerBeforeTheBodyArrives sends whole requests before it reads anything. Such senders notice a reset when they
// write.
func TestAnswerBeforeTheBodyArrives(t *testing.T) {
	certFile, keyFile, roots := writePair(t, t.TempDir(), "one")
	const size = 9 << 20
	body := strings.Repeat(" ", size)
	length := fmt.Sprintf("Content-Length: %d\r\n", size)
	const (
		post   = "POST / HTTP/1.1\r\nHost: x\r\n"
		coding = "Transfer-Encoding: chunked\r\n\r\n"
	)
	for name, test := range map[string]struct{ request, status string }{
		"length, close":      {post + "Connection: close\r\n" + length + "\r\n" + body, "401"},
		"length, keep-alive": {post + length + "\r\n" + body, "401"},
		"chunked, close":     {post + "Connection: close\r\n" + coding + chunked(size), "401"},
		"chunked":            {post + coding + chunked(size), "401"},
		"not chunked":        {post + coding + body, "401"},
		"HTTP/1.0":           {"POST / HTTP/1.0\r\n" + length + "\r\n" + body, "401"},
		"GET":                {"GET / HTTP/1.1\r\nHost: x\r\n" + length + "\r\n" + body, "401"},
		"HEAD":               {"HEAD / HTTP/1.1\r\nHost: x\r\n" + length + "\r\n" + body, "401"},
		"impatient continue": {post + "Expect: 100-continue\r\n" + length + "\r\n" + body, "401"},
		"streaming":          {strings.Replace(post, "/", "/streaming", 1) + length + "\r\n" + body, "401"},
		"streaming chunked":  {strings.Replace(post, "/", "/streaming", 1) + coding + chunked(size), "401"},
		"silent":             {strings.Replace(post, "/", "/silent", 1) + length + "\r\n" + body, "200"},
		"broken chunk":       {"POST /read HTTP/1.1\r\nHost: x\r\n" + coding + "zz\r\n" + body, "401"},
		// Requests that net/http answers itself:
		"unknown expectation": {post + "Expect: x\r\n" + length + "\r\n" + body, "417"},
		"header syntax":       {post + "no colon\r\n" + length + "\r\n" + body, "400"},
		"no host":             {"POST / HTTP/1.1\r\n" + length + "\r\n" + body, "400"},
		"transfer coding":     {post + "Transfer-Encoding: gzip\r\n\r\n" + body, "501"},
		"version":             {"POST / HTTP/3.0\r\nHost: x\r\n" + length + "\r\n" + body, "505"},
		"long header":         {post + "X-Long: " + body, "431"},
	} {
		for _, scheme := range []string{"http", "https"} {
			if scheme == "https" && test.status != "401" && test.status != "200" {
				continue // net/http's own answers arrive over plain HTTP only
			}
			t.Run(scheme+"/"+name, func(t *testing.T) {
				var opts Options
				if scheme == "https" {
					opts = Options{CertFile: certFile, KeyFile: keyFile}
				}
				address := start(t, opts)
				for range 3 {
					c, err := net.Dial("tcp", address)
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					if scheme == "https" {
						c = tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
					}
					if n, err := io.WriteString(c, test.request); err != nil {
						t.Fatalf("reset after %d of %d bytes: %v", n, len(test.request), err)
					}
					got, err := io.ReadAll(c)
					if err != nil || len(got) < len("HTTP/1.1 200") ||
						string(got[len("HTTP/1.1 "):][:3]) != test.status {
						t.Fatalf("got %q, %v", got, err)
					}
					if test.status == "401" && name != "HEAD" && !strings.HasSuffix(string(got), answerText) {
						t.Errorf("got %q", got)
					}
				}
			})
		}
	}
}

// TestAnswerOverHTTP2 checks that an early answer arrives and that the connection stays open.
func TestAnswerOverHTTP2(t *testing.T) {
	certFile, keyFile, roots := writePair(t, t.TempDir(), "one")
	address := start(t, Options{CertFile: certFile, KeyFile: keyFile})
	dials := 0
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials++
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport}
	for _, size := range []int{0, 100 << 10, 9 << 20} {
		for range 3 {
			response, err := client.Post("https://"+address, "", bytes.NewReader(make([]byte, size)))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(response.Body)
			response.Body.Close()
			got := fmt.Sprintf("%s %d %s", response.Proto, response.StatusCode, text)
			if err != nil || got != "HTTP/2.0 401 "+answerText {
				t.Errorf("%d bytes: got %s, %v", size, got, err)
			}
		}
	}
	if dials != 1 {
		t.Errorf("%d connections", dials)
	}
}

// TestConnectionStaysWhereTheBodyWasRead checks that only answers before the end of the body close their connection.
func TestConnectionStaysWhereTheBodyWasRead(t *testing.T) {
	c, err := net.Dial("tcp", start(t, Options{}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answers := bufio.NewReader(c)
	for _, test := range []struct {
		request string
		stays   bool
	}{
		{"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345", true},
		{"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n", true},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", true},
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", true},
		{"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", true}, // which net/http answers itself
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345", false},
	} {
		if _, err := io.WriteString(c, test.request); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		if response.Close == test.stays {
			t.Errorf("%q: the answer closes the connection: %t", test.request, response.Close)
		}
	}
	if n, err := answers.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

// pipes is a listener with connections in memory, for tests with a fake clock.
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

// dial returns the client's end of a new connection.
func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.accepted <- server
	return client
}

// bubble serves handler in a bubble of synctest until test returns.
func bubble(t *testing.T, handler http.HandlerFunc, opts Options, test func(*testing.T, *Server, *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, err := New(newServer(handler), opts)
		if err != nil {
			t.Fatal(err)
		}
		p := &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- s.Serve(p) }()
		test(t, s, p)
		if err := errors.Join(s.Close(), <-served); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		s.discarder.wait(context.Background())
		time.Sleep(2 * time.Second) // in which drip notices that its connection is closed
	})
}

// post sends a header that declares a length, and reads the answer to it.
func post(t *testing.T, c net.Conn, length int) {
	t.Helper()
	if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", length); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(response.Body); err != nil || string(text) != answerText || !response.Close {
		t.Fatalf("got %q, %v, close %t", text, err, response.Close)
	}
}

// drip sends a byte a second until the server closes the connection.
func drip(c net.Conn) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if _, err := c.Write([]byte{' '}); err != nil {
			return
		}
		<-tick.C
	}
}

func TestDiscardingIsBoundedInTime(t *testing.T) {
	for name, send := range map[string]func(net.Conn){
		"silent": func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"drips":  drip,
	} {
		bubble(t, refuse, Options{DiscardTime: 7500 * time.Millisecond}, func(t *testing.T, _ *Server, p *pipes) {
			c := p.dial()
			began := time.Now()
			post(t, c, 1<<30)
			send(c)
			if took := time.Since(began); took < 7*time.Second || took > 8*time.Second {
				t.Errorf("%s: closed after %s", name, took)
			}
		})
	}
}

// TestSlowSenderGetsItsAnswer: a sender that first writes its whole request, for longer than DiscardTime, still gets
// the answer. The server stops reading after three times DiscardTime.
func TestSlowSenderGetsItsAnswer(t *testing.T) {
	for seconds, arrives := range map[int]bool{20: true, 40: false} {
		bubble(t, refuse, Options{}, func(t *testing.T, _ *Server, p *pipes) {
			c := p.dial()
			began := time.Now()
			post(t, c, 1<<30) // a pipe has no buffer: read the answer before sending the rest
			var err error
			for sent := 0; sent < seconds && err == nil; sent++ {
				_, err = c.Write(make([]byte, 2*discardRate))
				time.Sleep(time.Second)
			}
			if (err == nil) != arrives {
				t.Errorf("sending for %d s: %v after %s", seconds, err, time.Since(began))
			}
			c.Close()
		})
	}
}

func TestDiscardingIsBoundedInBytes(t *testing.T) {
	bubble(t, refuse, Options{DiscardBytes: 1 << 20}, func(t *testing.T, _ *Server, p *pipes) {
		c := p.dial()
		post(t, c, 1<<30)
		n, err := c.Write(make([]byte, 2<<20))
		if n < 1<<20 || n > 1<<20+1<<14 || err == nil {
			t.Errorf("%d bytes were read: %v", n, err)
		}
	})
}

func TestDiscardsAreBoundedInNumber(t *testing.T) {
	bubble(t, refuse, Options{Discards: 3}, func(t *testing.T, _ *Server, p *pipes) {
		var clients []net.Conn
		for i := range 4 {
			c := p.dial()
			clients = append(clients, c)
			post(t, c, 1<<30)
			synctest.Wait()
			_, err := c.Write([]byte{' '})
			if open := err == nil; open != (i < 3) {
				t.Errorf("connection %d: %v", i, err)
			}
		}
		clients[0].Close()
		synctest.Wait()
		c := p.dial()
		post(t, c, 1<<30)
		if _, err := c.Write([]byte{' '}); err != nil {
			t.Errorf("after one was closed: %v", err)
		}
	})
}

// TestShutdownWaitsForNoDiscard: a connection that is only read after its answer delays the shutdown by a second at
// most and is no failure.
func TestShutdownWaitsForNoDiscard(t *testing.T) {
	for _, timeout := range []time.Duration{100 * time.Millisecond, 30 * time.Second} {
		bubble(t, refuse, Options{}, func(t *testing.T, s *Server, p *pipes) {
			var senders sync.WaitGroup
			defer senders.Wait()
			for _, request := range []string{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n",
				"no header\r\n\r\n"} {
				c := p.dial()
				if _, err := io.WriteString(c, request); err != nil {
					t.Fatal(err)
				}
				answer := make([]byte, 1<<10)
				for n := 0; !strings.Contains(string(answer[:n]), "\r\n\r\n"); {
					more, err := c.Read(answer[n:])
					if err != nil {
						t.Fatal(err)
					}
					n += more
				}
				senders.Go(func() { _, _ = io.Copy(io.Discard, c) })
				senders.Go(func() { drip(c) })
			}
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			began := time.Now()
			err := s.Shutdown(ctx)
			// net/http polls after 1, 2, 4, … 256 and 500 ms, each up to 10 % longer: at 1.112 s at the latest.
			if took := time.Since(began); took > stopTime+stopTime/8 {
				t.Errorf("with %s: it took %s", timeout, took)
			}
			if err != nil && timeout > stopTime {
				t.Errorf("with %s: %v", timeout, err)
			}
		})
	}
}

// TestStalledHeaderGetsNoAnswer stalls and hangs up at every byte of a header.
func TestStalledHeaderGetsNoAnswer(t *testing.T) {
	const header = "POST /read HTTP/1.1\r\nHost: x\r\nX-Signature: 00\r\nContent-Length: 3\r\n\r\n"
	bubble(t, refuse, Options{}, func(t *testing.T, _ *Server, p *pipes) {
		for first := range 2 { // on a new connection, and on one after a request
			for n := range len(header) {
				c := p.dial()
				answers := bufio.NewReader(c)
				if first == 1 {
					if _, err := io.WriteString(c, header+"abc"); err != nil {
						t.Fatal(err)
					}
					response, err := http.ReadResponse(answers, nil)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, response.Body)
				}
				began := time.Now()
				if _, err := io.WriteString(c, header[:n]); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(answers)
				if len(got) > 0 || err != nil {
					t.Errorf("after %q: got %q, %v", header[:n], got, err)
				}
				want := 5 * time.Second
				if first == 1 && n < 4 { // net/http waits for four bytes before the header's time begins
					want = time.Minute
				}
				if took := time.Since(began); took != want {
					t.Errorf("after %q: closed after %s, want %s", header[:n], took, want)
				}
				c.Close()
			}
		}
	})
}

// halfOpen is a connection that its peer has closed for writing.
type halfOpen struct {
	net.Conn
	rest io.Reader
}

func (h *halfOpen) Read(p []byte) (int, error) { return h.rest.Read(p) }

// TestHangUp ends a connection at every byte of a request. Only a complete header gets an answer, and the answer
// arrives although the client has closed the connection for writing.
func TestHangUp(t *testing.T) {
	const header = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	for n := range len(header) + 1 {
		bubble(t, refuse, Options{}, func(t *testing.T, _ *Server, p *pipes) {
			client, server := net.Pipe()
			p.accepted <- &halfOpen{server, strings.NewReader(header[:n])}
			got, err := io.ReadAll(client)
			answered := strings.HasPrefix(string(got), "HTTP/1.1 401 ")
			if err != nil || answered != (n == len(header)) || !answered && len(got) > 0 {
				t.Errorf("after %q: got %q, %v", header[:n], got, err)
			}
		})
	}
}

// TestStalledHeaderOverTLS stalls in a header line after a handshake.
func TestStalledHeaderOverTLS(t *testing.T) {
	certFile, keyFile, _ := writePair(t, t.TempDir(), "one")
	for _, header := range []string{"", "PO", "POST / HTTP/1.1\r\nHost: x\r\nX-Sig"} {
		bubble(t, refuse, Options{CertFile: certFile, KeyFile: keyFile}, func(t *testing.T, _ *Server, p *pipes) {
			// In a bubble it is the year 2000, when the certificate is not valid yet.
			c := tls.Client(p.dial(), &tls.Config{InsecureSkipVerify: true})
			defer c.Close()
			if _, err := io.WriteString(c, header); err != nil {
				t.Fatal(err)
			}
			if got, _ := io.ReadAll(c); len(got) > 0 {
				t.Errorf("after %q: got %q", header, got)
			}
		})
	}
}

// TestExpectContinue checks that a sender that waits for 100 gets the answer instead and sends no body.
func TestExpectContinue(t *testing.T) {
	for path, want := range map[string]string{"/": "HTTP/1.1 401 ", "/read": "HTTP/1.1 100 "} {
		bubble(t, refuse, Options{}, func(t *testing.T, _ *Server, p *pipes) {
			c := p.dial()
			const header = "POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
			if _, err := fmt.Fprintf(c, header, path); err != nil {
				t.Fatal(err)
			}
			answers := bufio.NewReader(c)
			line, err := answers.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, want) {
				t.Fatalf("%s: got %q, %v", path, line, err)
			}
			if path == "/read" {
				if _, err := answers.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(c, "abc"); err != nil {
					t.Fatal(err)
				}
				if line, err = answers.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 401 ") {
					t.Fatalf("%s: got %q, %v", path, line, err)
				}
			}
			began := time.Now()
			c.Close() // the announced body never comes
			synctest.Wait()
			if took := time.Since(began); took > 0 {
				t.Errorf("%s: it took %s to see that the sender is gone", path, took)
			}
		})
	}
}
