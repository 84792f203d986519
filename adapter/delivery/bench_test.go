package delivery_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/saasquatch"
	"segment-saasquatch/adapter/sandbox"
	"segment-saasquatch/adapter/webhook"
	"segment-saasquatch/mapping"
)

const (
	benchBatch       = 1000
	benchConcurrency = 64
	benchTenant      = "test_bench"
	benchKey         = "TEST_bench"
	benchSecret      = "bench-shared-secret"
)

var benchNow = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// BenchmarkDelivery takes signed batches of 1000 events over HTTP through the
// whole adapter to the sandbox, and in turn with them posts the same prepared
// bodies with a bare net/http client of the same concurrency. Reported are events
// per second and CPU time per event of the whole process, which runs both ends,
// and the share of the bare client's rate that the adapter reaches.
func BenchmarkDelivery(b *testing.B) {
	bareTarget := startSandbox(b)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchConcurrency,
		MaxConnsPerHost: benchConcurrency}}
	mapper := benchMapper(b)
	url := startAdapter(b, startSandbox(b))
	var bare, adapted cost
	for round := 0; b.Loop(); round++ {
		bodies, batch := make([][]byte, benchBatch), []byte("[")
		for i := range bodies {
			event := benchEvent(b, round, i)
			mapped := mapper.Map(event, benchNow)
			bodies[i] = mapped.UserEvent.Body
			batch = append(append(batch, event...), ',')
		}
		batch[len(batch)-1] = ']'
		mac := hmac.New(sha1.New, []byte(benchSecret))
		mac.Write(batch)
		signature := hex.EncodeToString(mac.Sum(nil))

		bare.measure(b, func() { postAll(b, client, bareTarget, bodies) })
		adapted.measure(b, func() { postBatch(b, url, batch, signature) })
	}
	bare.report(b, "bare")
	adapted.report(b, "adapter")
	b.ReportMetric(100*bare.wall.Seconds()/adapted.wall.Seconds(), "%of-bare")
	b.ReportMetric(0, "ns/op") // of both together, which means nothing
}

// cost sums what rounds of benchBatch events take.
type cost struct {
	rounds    int
	wall, cpu time.Duration
}

func (c *cost) measure(b *testing.B, round func()) {
	started, before := time.Now(), cpuTime(b)
	round()
	c.rounds++
	c.wall += time.Since(started)
	c.cpu += cpuTime(b) - before
}

func (c *cost) report(b *testing.B, name string) {
	events := float64(c.rounds) * benchBatch
	b.ReportMetric(events/c.wall.Seconds(), name+"-events/s")
	b.ReportMetric(float64(c.cpu)/events, name+"-cpu-ns/event")
}

func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

var benchTemplate = sync.OnceValues(func() ([]byte, error) {
	return os.ReadFile(filepath.Join("..", "..", "testdata", "bench", "order_completed.json"))
})

// benchEvent returns an Order Completed of 2.2 KB with a messageId and a user of its own.
func benchEvent(b *testing.B, round, i int) []byte {
	event, err := benchTemplate()
	if err != nil {
		b.Fatal(err)
	}
	event = bytes.TrimSpace(event)
	event = bytes.Replace(event, []byte("ajs-next-1790812800123-2324d7d3-9791-4b0e-a6f2-1bd1b7308241"),
		fmt.Appendf(nil, "ajs-next-%013d-2324d7d3-9791-4b0e-a6f2-%012d", round, i), 1)
	return bytes.Replace(event, []byte(`"userId":"97980cfea0067"`), fmt.Appendf(nil, `"userId":"user-%08d"`, i), 1)
}

func benchMapper(b *testing.B) *mapping.Mapper {
	rules := mapping.DefaultRules()
	rules.AnyAge = true
	mapper, err := mapping.New(rules)
	if err != nil {
		b.Fatal(err)
	}
	return mapper
}

// listen serves handler on a port of the loopback interface until the benchmark ends.
func listen(b *testing.B, handler http.Handler) (url string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	b.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return "http://" + listener.Addr().String()
}

func startSandbox(b *testing.B) (url string) {
	server, err := sandbox.New(sandbox.Options{Tenants: map[string]string{benchTenant: benchKey},
		Users: sandbox.AnyUser, MaxEvents: 1})
	if err != nil {
		b.Fatal(err)
	}
	return listen(b, server)
}

func startAdapter(b *testing.B, target string) (url string) {
	client, err := saasquatch.New(saasquatch.Options{BaseURL: target, TenantAlias: benchTenant,
		APIKey: adapter.NewSecret(benchKey), Concurrency: benchConcurrency, UserAgent: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()),
		zapcore.AddSync(io.Discard), zap.InfoLevel))
	direct := delivery.NewDirect(benchMapper(b), delivery.NewRetrier(delivery.NewSender(client,
		delivery.SenderOptions{}), delivery.NewBreaker(delivery.BreakerOptions{Ceiling: benchConcurrency}),
		delivery.RetrierOptions{}), delivery.DirectOptions{
		Budget: time.Minute,
		Record: func(r adapter.Result) {
			log.Info("event", zap.String("message_id", r.MessageID), zap.Stringer("outcome", r.Outcome),
				zap.String("event_key", r.EventKey), zap.Int("status", r.Status), zap.Duration("duration", r.Duration))
		},
	})
	handler, err := webhook.New([]webhook.Connection{{
		Name: "bench", Path: "/segment", Acceptor: direct,
		Credentials: webhook.Credentials{SharedSecrets: []adapter.Secret{adapter.NewSecret(benchSecret)}},
	}}, webhook.Options{Log: log})
	if err != nil {
		b.Fatal(err)
	}
	return listen(b, handler) + "/segment"
}

func postAll(b *testing.B, client *http.Client, target string, bodies [][]byte) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range benchConcurrency {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(bodies) {
					return
				}
				user := fmt.Sprintf("user-%08d", i)
				request, err := http.NewRequest(http.MethodPost,
					target+"/api/v1/"+benchTenant+"/open/account/"+user+"/user/"+user+"/events",
					bytes.NewReader(bodies[i]))
				if err != nil {
					b.Error(err)
					return
				}
				request.Header.Set("Content-Type", "application/json")
				request.SetBasicAuth("", benchKey)
				response, err := client.Do(request)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if response.StatusCode != http.StatusOK {
					b.Errorf("status %s", response.Status)
				}
			}
		})
	}
	workers.Wait()
}

func postBatch(b *testing.B, url string, batch []byte, signature string) {
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(batch))
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("X-Signature", signature)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"delivered":1000`)) {
		b.Fatalf("%s: %.300s (%v)", response.Status, answer, err)
	}
}
