package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// sinkEnv is the environment variable that has the test binary run a sink instead of the tests. Its value is the
// latency of the sink.
const sinkEnv = "SYSTEM_BENCH_SINK"

// sink is a SaaSquatch that only takes events: by the REST call, and by GraphQL's logUserEvents. It shares the machine
// with the program that is measured, so it reads no more of a body than it needs.
type sink struct {
	latency time.Duration
	mu      sync.Mutex
	keys    map[string]struct{} // idempotency keys that it has
}

// runSink serves a sink until the process is killed. It prints the sink's URL.
func runSink(latency string) {
	wait, err := time.ParseDuration(latency)
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	panic(http.Serve(listener, &sink{latency: wait, keys: make(map[string]struct{})}))
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/taken" {
		s.mu.Lock()
		defer s.mu.Unlock()
		fmt.Fprint(w, len(s.keys))
		return
	}
	body := make([]byte, max(0, r.ContentLength)) // all clients state it
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return
	}
	time.Sleep(s.latency)
	users, accounts, keys := members(body, "userId"), members(body, "accountId"), members(body, "idempotencyKey")
	bulk := strings.HasSuffix(r.URL.Path, "/graphql")
	if len(keys) == 0 || len(users) != len(keys) || len(accounts) != len(keys) || !bulk && len(keys) != 1 {
		http.Error(w, "the sink wants the user, the account and the key of each event", http.StatusBadRequest)
		return
	}
	isNew := s.take(keys)
	w.Header().Set("Content-Type", "application/json")
	switch {
	case bulk:
		_, _ = w.Write(bulkAnswer(users, accounts, isNew))
	case isNew[0]:
		fmt.Fprintf(w, `{"accountId":"%s","userId":"%s","events":[]}`, accounts[0], users[0])
	default:
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{`+sinkConflict+`}`)
	}
}

// sinkConflict are the members of the answer to an event whose key the sink has.
const sinkConflict = `"message":"conflict","statusCode":409,"apiErrorCode":"IDEMPOTENCY_KEY_CONFLICT",` +
	`"rsCode":"IDEMPOTENCY_KEY_CONFLICT"`

func bulkAnswer(users, accounts [][]byte, isNew []bool) []byte {
	answer := []byte(`{"data":{"logUserEvents":[`)
	for i := range users {
		if isNew[i] {
			answer = fmt.Appendf(answer, `{"__typename":"UserEventResult","userId":"%s","accountId":"%s"},`,
				users[i], accounts[i])
		} else {
			answer = append(answer, `{"__typename":"ApiError",`+sinkConflict+`},`...)
		}
	}
	return append(answer[:len(answer)-1], `]}}`...)
}

// take takes the keys, and returns for each whether it is new.
func (s *sink) take(keys [][]byte) []bool {
	isNew := make([]bool, len(keys))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, key := range keys {
		if _, had := s.keys[string(key)]; !had {
			isNew[i], s.keys[string(key)] = true, struct{}{}
		}
	}
	return isNew
}

// members returns the values of all members with a name, in their order. It searches the text instead of reading JSON,
// which would cost more than all else that the sink does. So it is only for bodies whose other members do not have
// that name, and for values without escapes.
func members(body []byte, name string) (values [][]byte) {
	mark := []byte(`"` + name + `":"`)
	for {
		_, after, found := bytes.Cut(body, mark)
		value, rest, closed := bytes.Cut(after, []byte(`"`))
		if !found || !closed {
			return values
		}
		values, body = append(values, value), rest
	}
}
