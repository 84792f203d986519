package webhook

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"segment-saasquatch/adapter"
)

// padded returns an event of n bytes.
func padded(n int) string {
	const text = `{"type":"page","pad":"%s"}`
	return fmt.Sprintf(text, strings.Repeat("x", n-len(text)+len("%s")))
}

// TestMemoryOfLargeRequestsIsBounded: a large request waits at the door for room for its
// body, and then for the memory to be handled in. It is refused when that takes too long,
// and at once when there is no room at the door. Small ones do not notice.
func TestMemoryOfLargeRequestsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leave := make(chan struct{})
		h := newHandler(t, acceptFunc(func(_ context.Context, events [][]byte) (adapter.Receipt, error) {
			if len(events[0]) > smallRequest {
				<-leave
			}
			return adapter.Receipt{}, nil
		}), Options{BodyLimit: 1 << 20, Memory: 8 << 20})
		began := time.Now()
		codes := make(chan int, 3)
		send := func() { codes <- serve(h, "POST", "/segment", strings.NewReader(padded(900<<10))).Code }
		go send() // one is handled, two have come, and the door has room for eight
		for range 10 {
			synctest.Wait()
			go send()
		}
		synctest.Wait()
		if w := serve(h, "POST", "/segment", strings.NewReader(padded(900<<10))); w.Code != 503 ||
			time.Since(began) > 0 {
			t.Errorf("without room at the door: %d after %s", w.Code, time.Since(began))
		}
		for range 100 {
			if w := serve(h, "POST", "/segment", strings.NewReader(padded(smallRequest-1))); w.Code != 200 ||
				time.Since(began) > 0 {
				t.Fatalf("a small request: %d after %s", w.Code, time.Since(began))
			}
		}
		for range 10 {
			if code := <-codes; code != 503 || time.Since(began) != patience {
				t.Errorf("without memory to be handled in: %d after %s", code, time.Since(began))
			}
		}
		close(leave)
		if code := <-codes; code != 200 {
			t.Errorf("the first: %d", code)
		}
		for range 10 {
			go send()
		}
		for range 10 {
			if code := <-codes; code != 200 {
				t.Errorf("after it: %d", code)
			}
		}
		checkMemoryIsFree(t, h)
	})
}

// TestSenderLeavesWhileItWaits hangs up while a large request waits for memory. The log says that the sender left.
func TestSenderLeavesWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leave := make(chan struct{})
		seen := make(chan Request, 2)
		h := newHandler(t, acceptFunc(func(context.Context, [][]byte) (adapter.Receipt, error) {
			<-leave
			return adapter.Receipt{}, nil
		}), Options{BodyLimit: 1 << 20, Memory: 8 << 20, Observe: func(r Request) { seen <- r }})
		go serve(h, "POST", "/segment", strings.NewReader(padded(900<<10)))
		synctest.Wait()
		ctx, hangUp := context.WithCancel(t.Context())
		go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "POST", "/segment",
			strings.NewReader(padded(900<<10))))
		synctest.Wait()
		hangUp()
		if got, want := <-seen, (Request{"test", 503, ReasonSenderLeft}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		close(leave)
		<-seen
		synctest.Wait()
		checkMemoryIsFree(t, h)
	})
}

// stalls begins a signed request and stalls behind the given part of its body. It returns
// the status of the answer, 0 if the connection ends without one.
func stalls(p *pipes, signature string, declared int, part string) (status func() int) {
	client, server := net.Pipe()
	p.accepted <- server
	answered := make(chan int, 1)
	go func() {
		defer client.Close()
		go func() {
			_, _ = fmt.Fprintf(client,
				"POST /s HTTP/1.1\r\nHost: x\r\nX-Signature: %s\r\nContent-Length: %d\r\n\r\n%s",
				signature, declared, part)
		}()
		response, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			answered <- 0
			return
		}
		answered <- response.StatusCode
	}()
	return func() int { return <-answered }
}

// sends sends a signed request whole and returns the status and the time of the answer.
func sends(t *testing.T, p *pipes, signature, body string) (int, time.Duration) {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	p.accepted <- server
	began := time.Now()
	go func() {
		_, _ = fmt.Fprintf(client,
			"POST /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Signature: %s\r\nContent-Length: %d\r\n\r\n%s",
			signature, len(body), body)
	}()
	response, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode, time.Since(began)
}

// TestStalledStrangersKeepNoSenderAway begins 400 bodies with a made-up signature, almost
// whole, and leaves them there. They hold the memory of strangers at most, take it from
// each other, and end within the time that a body may stall. Meanwhile single events,
// batches signed by their first event and bodies signed as a whole are answered at once,
// from the same address.
func TestStalledStrangersKeepNoSenderAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const memory = 16 << 20
		h, err := New([]Connection{{Path: "/s", Acceptor: mapAndDeliver(t), Credentials: Credentials{
			SharedSecrets: secrets("s"), AllowFirstElementSignature: true}}}, Options{BodyLimit: 1 << 20,
			Memory: memory})
		if err != nil {
			t.Fatal(err)
		}
		p := &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})}
		defer serveAt(t, p, h)()
		madeUp := strings.Repeat("0123456789", 4)
		part := padded(540 << 10)[:539<<10]
		began := time.Now()
		var strangers []func() int
		for range 400 {
			strangers = append(strangers, stalls(p, madeUp, 540<<10, part))
			synctest.Wait()
			time.Sleep(time.Millisecond)
			if used := h.reader.memory.strangers.used; used > memory/8 {
				t.Fatalf("strangers hold %d bytes", used)
			}
		}
		time.Sleep(evictAge)
		for range 10 {
			single, batch, whole := good(1), many(1000, good(0)), "["+padded(300<<10)+"]"
			for _, test := range []struct{ name, body, signed string }{
				{"a single event", single, single}, {"a batch", batch, good(0)}, {"a whole body", whole, whole},
			} {
				if status, took := sends(t, p, signature("s", test.signed), test.body); status != 200 ||
					took > time.Second {
					t.Errorf("%s: %d after %s", test.name, status, took)
				}
			}
		}
		for i, status := range strangers {
			if got := status(); got != 503 {
				t.Errorf("stranger %d: %d", i, got)
			}
		}
		if took := time.Since(began); took > stallTime+time.Second { // for what the test itself sleeps
			t.Errorf("the last stranger was answered after %s", took)
		}
		checkMemoryIsFree(t, h)
	})
}

// TestStrangersOfOneAddress: an address has a part of the strangers' memory, and takes
// more from its own bodies alone. X-Forwarded-For counts only behind a trusted proxy.
func TestStrangersOfOneAddress(t *testing.T) {
	now := time.Now()
	ss := newStrangers(8<<20, 1<<20)
	begin := func(address string, n int64) (*stranger, error) {
		r := httptest.NewRecorder()
		s := newStranger(parseAddr(t, address), http.NewResponseController(r), now)
		return s, ss.grow(s, n, now)
	}
	other, _ := begin("192.0.2.1", 3<<20)
	first, _ := begin("2001:db8::1", 3<<20)
	if _, err := begin("2001:db8::2", 3<<20); err == nil {
		t.Error("a network of IPv6 has more than one share")
	}
	now = now.Add(evictAge)
	if second, err := begin("2001:db8::2", 3<<20); err != nil || !first.isEvicted() || second.isEvicted() ||
		other.isEvicted() {
		t.Errorf("a body beyond the share of its address: %v; evicted: %t %t", err, first.isEvicted(),
			other.isEvicted())
	}
	if _, err := begin("2001:db8:0:1::", 3<<20); err != nil || !other.isEvicted() {
		t.Errorf("a body beyond the size: %v, evicted %t", err, other.isEvicted())
	}
	if err := ss.grow(other, 1, now); err == nil {
		t.Error("an evicted body grows")
	}
}

// TestSlowBodies: a body may come at no less than leastRate for longer than stallTime,
// whatever came before, and a slow one ends with bodyTime.
func TestSlowBodies(t *testing.T) {
	for name, test := range map[string]struct {
		burst, chunk int
		every        time.Duration
		ends         time.Duration
		status       int
	}{
		"stalls at once":        {0, 0, 0, stallTime, 503},
		"stalls behind a burst": {600 << 10, 0, 0, stallTime, 503},
		"drips":                 {0, 1, stallTime / 2, stallTime, 503},
		"half the rate":         {0, leastRate / 4, time.Second / 2, 3 * stallTime / 2, 503},
		"twice the rate":        {0, 2 * leastRate, time.Second, 20 * time.Second, 200},
		"the rate":              {0, leastRate + 1, time.Second, bodyTime, 503},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHandler(t, acceptFunc(func(context.Context, [][]byte) (adapter.Receipt, error) {
					time.Sleep(time.Minute) // longer than any deadline of the body
					return adapter.Receipt{}, nil
				}), Options{})
				p := &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})}
				defer serveAt(t, p, h)()
				client, server := net.Pipe()
				written := make(chan struct{})
				defer func() {
					client.Close()
					<-written
				}()
				p.accepted <- server
				body := padded(640 << 10)
				began := time.Now()
				go func() {
					defer close(written)
					rest := body[test.burst:]
					_, _ = fmt.Fprintf(client, "POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s",
						len(body), body[:test.burst])
					for len(rest) > 0 && test.chunk > 0 {
						time.Sleep(test.every)
						n, err := io.WriteString(client, rest[:min(test.chunk, len(rest))])
						if rest = rest[n:]; err != nil {
							return
						}
					}
				}()
				response, err := http.ReadResponse(bufio.NewReader(client), nil)
				if err != nil {
					t.Fatal(err)
				}
				took := time.Since(began)
				if test.status == 200 {
					took -= time.Minute
				}
				if response.StatusCode != test.status || took < test.ends || took > test.ends+time.Second {
					t.Errorf("%d after %s, want %d after %s", response.StatusCode, took, test.status, test.ends)
				}
			})
		})
	}
}

// TestRemoteAddress checks the address in the log's line of a request.
func TestRemoteAddress(t *testing.T) {
	for _, test := range []struct {
		proxies   string
		peer      string
		forwarded []string
		want      string
	}{
		{"", "192.0.2.1:1234", nil, "192.0.2.1"},
		{"", "[2001:db8::1]:1234", nil, "2001:db8::1"},
		{"", "192.0.2.1:1234", []string{"203.0.113.9"}, "192.0.2.1"},
		{"192.0.2.0/24", "192.0.2.1:1234", []string{"203.0.113.9"}, "203.0.113.9"},
		{"192.0.2.0/24", "198.51.100.1:1234", []string{"203.0.113.9"}, "198.51.100.1"},
		// The rightmost entry that no trusted proxy has written: the part in front is the sender's.
		{"192.0.2.0/24", "192.0.2.1:1234", []string{"10.0.0.1, 203.0.113.9, 192.0.2.7"}, "203.0.113.9"},
		{"192.0.2.0/24", "192.0.2.1:1234", []string{"10.0.0.1", "203.0.113.9"}, "203.0.113.9"},
		{"192.0.2.0/24,2001:db8::/32", "[2001:db8::7]:1234", []string{"2001:db9::1"}, "2001:db9::1"},
		{"192.0.2.0/24", "192.0.2.1:1234", []string{"garbage"}, "192.0.2.1"},
		{"192.0.2.0/24", "192.0.2.1:1234", []string{strings.Repeat("9", 5000)}, "192.0.2.1"},
	} {
		core, logged := observer.New(zap.InfoLevel)
		opts := Options{Log: zap.New(core)}
		for text := range strings.SplitSeq(test.proxies, ",") {
			if text != "" {
				opts.TrustedProxies = append(opts.TrustedProxies, netip.MustParsePrefix(text))
			}
		}
		h := newHandler(t, mapAndDeliver(t), opts)
		r := httptest.NewRequest("POST", "/segment", strings.NewReader(good(1)))
		r.RemoteAddr = test.peer
		r.Header["X-Forwarded-For"] = test.forwarded
		r.Header.Set("X-Real-Ip", "203.0.113.200")
		h.ServeHTTP(httptest.NewRecorder(), r)
		if got := logged.FilterMessage("request").All()[0].ContextMap()["remote"]; got != test.want {
			t.Errorf("proxies %q, from %s, forwarded for %q: got %v, want %s", test.proxies, test.peer, test.forwarded,
				got, test.want)
		}
	}
}

func parseAddr(t *testing.T, text string) netip.Addr {
	t.Helper()
	address, err := netip.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	return address
}
