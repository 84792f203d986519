package mapping_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"segment-saasquatch/adapter/sandbox"
	"segment-saasquatch/mapping"
)

// judge sends a mapped event to a sandbox, which has SaaSquatch's published rules of its own.
func judge(t *testing.T, server *sandbox.Server, event *mapping.UserEvent) (status int, answer string) {
	t.Helper()
	request := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(event.Body))
	request.URL.Path = "/api/v1/t/open/account/" + event.AccountID + "/user/" + event.UserID + "/events"
	request.URL.RawPath = "/api/v1/t/open/account/" + escapeAll(event.AccountID) + "/user/" + escapeAll(event.UserID) +
		"/events"
	request.Header.Set("Content-Type", "application/json")
	request.SetBasicAuth("", "key")
	w := httptest.NewRecorder()
	server.ServeHTTP(w, request)
	return w.Code, w.Body.String()
}

func escapeAll(id string) string {
	const hex = "0123456789ABCDEF"
	var escaped []byte
	for _, c := range []byte(id) {
		escaped = append(escaped, '%', hex[c>>4], hex[c&15])
	}
	return string(escaped)
}

func newJudge(t testing.TB) *sandbox.Server {
	server, err := sandbox.New(sandbox.Options{Users: sandbox.AnyUser, MaxEvents: 1})
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// TestMappedEventsPass sends what the mapping makes of every golden event.
func TestMappedEventsPass(t *testing.T) {
	server := newJudge(t)
	inputs, err := filepath.Glob(filepath.Join("..", "testdata", "mapping", "*", "input.json"))
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no golden cases (%v)", err)
	}
	passed := 0
	for _, input := range inputs {
		name := filepath.Base(filepath.Dir(input))
		if name == "M14_not_conformed" {
			continue // it deliberately does not fit the schema
		}
		rules := mapping.DefaultRules()
		text, err := os.ReadFile(filepath.Join(filepath.Dir(input), "rules.json"))
		if err == nil {
			err = json.Unmarshal(text, &rules)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		mapper, err := mapping.New(rules)
		if err != nil {
			t.Fatal(err)
		}
		events, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		for event := range bytes.Lines(events) {
			result := mapper.Map(event, benchNow)
			if result.Kind != mapping.KindUserEvent {
				continue
			}
			status, answer := judge(t, server, &result.UserEvent)
			if status != http.StatusOK && status != http.StatusConflict {
				t.Errorf("%s: %d %s\n%s", name, status, answer, result.UserEvent.Body)
			}
			passed++
		}
	}
	if passed < 100 {
		t.Errorf("only %d events were judged", passed)
	}
}

// FuzzMappedEventsPass checks that SaaSquatch's published rules allow every request that the mapping makes.
func FuzzMappedEventsPass(f *testing.F) {
	server := newJudge(f)
	rules := mapping.DefaultRules()
	rules.AnyAge = true
	mapper, err := mapping.New(rules)
	if err != nil {
		f.Fatal(err)
	}
	for _, properties := range []string{
		`{}`, `{"products":[{"id":1,"quantity":"2"},{"sku":"s"}],"revenue":"1.5","currency":" usd "}`,
		`{"a b":[[1]],"c":{"d":[{"e":"x"}]}}`,
		`{"total":1e400,"tax":"-0","order_id":1e5,"products":[{"product_id":"p","quantity":1e2,"position":-0}]}`,
	} {
		f.Add("Order Completed", []byte(properties), "u-1", "message-1")
		f.Add("Order Refunded", []byte(properties), "ü/..", "m")
		f.Add("Signed Up", []byte(properties), "..x", "")
	}
	f.Fuzz(func(t *testing.T, name string, properties []byte, userID, messageID string) {
		event, err := json.Marshal(map[string]any{
			"type": "track", "event": name, "userId": userID,
			"messageId": messageID, "properties": json.RawMessage(properties),
		})
		if err != nil {
			t.Skip() // the properties are not JSON
		}
		result := mapper.Map(event, benchNow)
		if result.Kind != mapping.KindUserEvent {
			return
		}
		status, answer := judge(t, server, &result.UserEvent)
		if status != http.StatusOK && status != http.StatusConflict {
			t.Fatalf("%d %s\n%s", status, answer, result.UserEvent.Body)
		}
	})
}
