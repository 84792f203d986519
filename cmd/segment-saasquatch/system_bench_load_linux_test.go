package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"segment-saasquatch/mapping"
)

const (
	loadBatch = 1000 // events of a webhook request
	loadUsers = 5000
	// logUserEvents is the mutation of a bulk call.
	logUserEvents = `mutation($inputs:[UserEventInput!]!){logUserEvents(userEventInputs:$inputs){__typename ` +
		`... on UserEventResult{userId accountId} ... on ApiError{message statusCode apiErrorCode rsCode}}}`
)

// loadEvents counts the events of all rounds, so that each has a messageId of its own.
var loadEvents atomic.Int64

// orderEvents returns Order Completed events of 2.2 KB.
func orderEvents(b *testing.B, n int) [][]byte {
	b.Helper()
	template, err := os.ReadFile(filepath.Join("..", "..", "testdata", "bench", "order_completed.json"))
	if err != nil {
		b.Fatal(err)
	}
	const id, user, minute = "2324d7d3-9791-4b0e-a6f2-1bd1b7308241", "97980cfea0067", "2026-10-01T09:40"
	template = bytes.ReplaceAll(bytes.TrimSpace(template), []byte(minute),
		[]byte(time.Now().UTC().Format("2006-01-02T15:04")))
	if !bytes.Contains(template, []byte(id)) || !bytes.Contains(template, []byte(user)) {
		b.Fatal("the template has another messageId or userId")
	}
	events := make([][]byte, n)
	for i := range events {
		number := loadEvents.Add(1)
		event := bytes.Replace(template, []byte(id), fmt.Appendf(nil, "2324d7d3-9791-4b0e-a6f2-%012d", number), 1)
		events[i] = bytes.Replace(event, []byte(user), fmt.Appendf(nil, "user-%08d", number%loadUsers), 1)
	}
	return events
}

// loadCall is a finished request.
type loadCall struct {
	url, signature string
	body           []byte
}

// webhookCalls returns signed batches of events for a webhook.
func webhookCalls(events [][]byte, url string) (calls []loadCall) {
	for first := 0; first < len(events); first += loadBatch {
		batch := bytes.Join(events[first:min(first+loadBatch, len(events))], []byte(","))
		body := append(append([]byte("["), batch...), ']')
		calls = append(calls, loadCall{url: url, body: body, signature: sign(testSecret, body)})
	}
	return calls
}

// floorCalls returns finished requests to a sink, with bulk events in each. One event is a REST call.
func floorCalls(b *testing.B, events [][]byte, base string, bulk int) (calls []loadCall) {
	b.Helper()
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		b.Fatal(err)
	}
	base += "/api/v1/" + sandboxTenant
	var inputs [][]byte
	for _, event := range events {
		mapped := mapper.Map(event, time.Now())
		if mapped.Kind != mapping.KindUserEvent {
			b.Fatalf("the mapping makes %v of the event: %s", mapped.Kind, mapped.Reason)
		}
		user := mapped.UserEvent
		if bulk == 1 {
			calls = append(calls, loadCall{body: user.Body, url: base + "/open/account/" +
				url.PathEscape(user.AccountID) + "/user/" + url.PathEscape(user.UserID) + "/events"})
			continue
		}
		inputs = append(inputs, user.Body)
	}
	for first := 0; first < len(inputs); first += bulk {
		list := bytes.Join(inputs[first:min(first+bulk, len(inputs))], []byte(","))
		calls = append(calls, loadCall{url: base + "/graphql",
			body: fmt.Appendf(nil, `{"query":%q,"variables":{"inputs":[%s]}}`, logUserEvents, list)})
	}
	return calls
}

// sinkProcess is a sink in a process of its own.
type sinkProcess struct {
	*process
	url  string
	want int // events that it must have after the present round
}

func startSink(b *testing.B, latency time.Duration) *sinkProcess {
	b.Helper()
	p := startCommand(b, []string{sinkEnv + "=" + latency.String()}, exec.Command(os.Args[0]))
	return &sinkProcess{process: p, url: p.stdout.await(b, `(http://\S+)\n`)[1]}
}

// await waits until the sink has this number of further events.
func (s *sinkProcess) await(b *testing.B, events int) {
	b.Helper()
	s.want += events
	awaitState(b, 3*time.Minute, 5*time.Millisecond, func() (bool, string) {
		taken := get[int](b, s.url+"/taken")
		return taken >= s.want, fmt.Sprintf("the sink has %d events of %d", taken, s.want)
	})
}

// receive makes all calls, and waits until the sink has their n events.
func (s *sinkProcess) receive(b *testing.B, calls []loadCall, atOnce, n int) error {
	b.Helper()
	err := sendAll(calls, atOnce)
	if err == nil {
		s.await(b, n)
	}
	return err
}

// sendAll makes all calls with a bare client, atOnce of them in flight.
func sendAll(calls []loadCall, atOnce int) error {
	transport := &http.Transport{MaxIdleConnsPerHost: atOnce, MaxConnsPerHost: atOnce}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	var workers errgroup.Group
	workers.SetLimit(atOnce)
	for i := range calls {
		workers.Go(func() error {
			for {
				// Segment sends a request again, too, for which there is no room at the moment.
				if status, err := calls[i].send(client); status != http.StatusServiceUnavailable {
					return err
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	return workers.Wait()
}

func (c *loadCall) send(client *http.Client) (status int, err error) {
	request, err := http.NewRequest(http.MethodPost, c.url, bytes.NewReader(c.body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	if c.signature != "" {
		request.Header.Set("X-Signature", c.signature)
	} else {
		request.SetBasicAuth("", sandboxKey)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %.500s", c.url, response.StatusCode, answer)
	}
	return response.StatusCode, err
}
