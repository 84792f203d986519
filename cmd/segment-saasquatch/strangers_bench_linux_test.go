package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The load of BenchmarkStrangers.
const (
	stalledStrangers = 400
	idleStrangers    = 16_000
	wrongSignatures  = 10_000 // a second
	loadTime         = 5 * time.Second
)

// BenchmarkStrangers measures how long honest senders of single events and of batches of 4 MB wait for their answers,
// alone and beside strangers. The strangers send bodies of 5.4 MB that stall before their end, and begin again after
// a refusal. They open idle connections up to the limit of files, and send requests with wrong signatures. The
// benchmark reports the work of the strangers, who share the machine with the server, and the server's peak memory.
// The figures of senders alone are the baseline.
func BenchmarkStrangers(b *testing.B) {
	for _, kind := range []string{"none", "stalled", "idle", "wrong", "all"} {
		b.Run("strangers="+kind, func(b *testing.B) {
			s := serving(b, noSandbox, start(b, serverEnv(noSandbox, durableEnv(b)), "serve"))
			defer s.kill(b)
			address := strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/segment")
			var singles, batches latencies
			var strangers hostility
			b.ResetTimer()
			for round := 0; b.Loop(); round++ {
				stop := make(chan struct{})
				var load sync.WaitGroup
				strangers.begin(b, kind, address, stop, &load)
				var honest sync.WaitGroup
				for sender := range 4 {
					honest.Go(func() { singles.send(b, s.url, 1_000*round+sender, 2, 10*time.Millisecond) })
				}
				honest.Go(func() { batches.send(b, s.url, 1_000*round+999, 4_000_000, 200*time.Millisecond) })
				honest.Wait()
				close(stop)
				load.Wait()
			}
			b.StopTimer()
			b.ReportMetric(0, "ns/op")
			singles.report(b, "single")
			batches.report(b, "batch")
			b.ReportMetric(float64(s.peakMemory(b))/(1<<20), "MiB-peak")
			b.ReportMetric(float64(strangers.idle.Load())/float64(b.N), "idle")
			b.ReportMetric(float64(strangers.stalled.Load())/float64(b.N), "stalled")
			b.ReportMetric(float64(strangers.wrong.Load())/float64(b.N)/loadTime.Seconds(), "wrong/s")
		})
	}
}

// latencies are the times until the answers, in seconds.
type latencies struct {
	mu       sync.Mutex
	times    []time.Duration
	refused  int
	missing  int
	firstErr error
}

// send posts one request after the other for loadTime, with a pause between them.
func (l *latencies) send(b *testing.B, url string, sender, size int, pause time.Duration) {
	client := &http.Client{Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	for n, end := 0, time.Now().Add(loadTime); time.Now().Before(end); n++ {
		batch, first := largeBatch(100_000*sender+n, size)
		request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(batch))
		if err != nil {
			b.Error(err)
			return
		}
		request.Header.Set("X-Signature", sign(testSecret, first))
		began := time.Now()
		response, err := client.Do(request)
		took := time.Since(began)
		l.mu.Lock()
		switch {
		case err != nil:
			l.missing, l.firstErr = l.missing+1, err
		case response.StatusCode != http.StatusOK:
			l.refused++
		default:
			l.times = append(l.times, took)
		}
		l.mu.Unlock()
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
		select {
		case <-time.After(pause):
		case <-b.Context().Done():
			return
		}
	}
}

func (l *latencies) report(b *testing.B, name string) {
	slices.Sort(l.times)
	if len(l.times) == 0 {
		b.Fatalf("no %s was accepted: %d refused, %d without an answer: %v", name, l.refused, l.missing, l.firstErr)
	}
	milliseconds := func(share float64) float64 {
		return float64(l.times[int(share*float64(len(l.times)-1))].Microseconds()) / 1000
	}
	b.ReportMetric(milliseconds(0.5), name+"-p50-ms")
	b.ReportMetric(milliseconds(0.99), name+"-p99-ms")
	b.ReportMetric(float64(l.refused+l.missing), name+"-refused")
}

// hostility counts the work of strangers.
type hostility struct {
	stalled, idle, wrong atomic.Int64
}

func (h *hostility) begin(b *testing.B, kind, address string, stop <-chan struct{}, load *sync.WaitGroup) {
	madeUp := strings.Repeat("0123456789", 4)
	connect := func() net.Conn {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return nil
		}
		load.Go(func() { // ends any wait on the connection
			<-stop
			c.Close()
		})
		return c
	}
	until := func(act func() bool) {
		load.Go(func() {
			for {
				var pause time.Duration
				if !act() {
					pause = 50 * time.Millisecond
				}
				select {
				case <-stop:
					return
				case <-time.After(pause):
				}
			}
		})
	}

	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		b.Fatal(err)
	}
	has := func(this string) bool { return kind == this || kind == "all" }
	load.Go(func() {
		for n := 0; has("idle") && n < min(idleStrangers, int(files.Cur)-2*stalledStrangers-1000); n++ {
			if connect() != nil {
				h.idle.Add(1)
			}
		}
	})

	part := bytes.Repeat([]byte(" "), 5_300_000)
	for n := 0; has("stalled") && n < stalledStrangers; n++ {
		until(func() bool {
			c, err := net.DialTimeout("tcp", address, time.Second)
			if err != nil {
				return false
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(loadTime))
			h.stalled.Add(1)
			_, _ = fmt.Fprintf(c, "POST /segment HTTP/1.1\r\nHost: x\r\nX-Signature: %s\r\nContent-Length: "+
				"5400000\r\n\r\n[", madeUp)
			if _, err := c.Write(part); err != nil {
				return false
			}
			_, err = http.ReadResponse(bufio.NewReader(c), nil)
			return err == nil
		})
	}

	const senders = 20
	request := fmt.Sprintf("POST /segment HTTP/1.1\r\nHost: x\r\nX-Signature: %s\r\nContent-Length: "+
		"2\r\n\r\n{}", madeUp)
	for n := 0; has("wrong") && n < senders; n++ {
		load.Go(func() {
			tick := time.NewTicker(senders * time.Second / wrongSignatures)
			defer tick.Stop()
			c := connect()
			if c == nil {
				return
			}
			answers := bufio.NewReader(c)
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				if _, err := io.WriteString(c, request); err != nil {
					return
				}
				response, err := http.ReadResponse(answers, nil)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				h.wrong.Add(1)
			}
		})
	}
}
