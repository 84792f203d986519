package webhook

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"segment-saasquatch/adapter"
)

// TestOutageInTheLog refuses a thousand requests. The log has the first, a count each
// minute, and the end with the count.
func TestOutageInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logged := observer.New(zap.InfoLevel)
		var fault error
		h := newHandler(t, acceptFunc(func(_ context.Context, events [][]byte) (adapter.Receipt, error) {
			return adapter.Receipt{Results: make([]adapter.Result, len(events))}, fault
		}), Options{Log: zap.New(core)})
		post := func(n int) {
			for range n {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/segment",
					strings.NewReader(`[{},{}]`)))
			}
		}
		expect := func(when string, want ...string) {
			t.Helper()
			var got []string
			for _, entry := range logged.TakeAll() {
				text, _, _ := strings.Cut(entry.Message, ":")
				if n, ok := entry.ContextMap()["requests"]; ok {
					text += " " + strings.Repeat("*", int(n.(int64)/100)) // a star for each hundred
				}
				got = append(got, text)
			}
			if strings.Join(got, ", ") != strings.Join(want, ", ") {
				t.Errorf("%s: logged %q, want %q", when, got, want)
			}
		}
		post(2)
		expect("before", "request", "request")
		fault = &adapter.UnavailableError{Message: "gone", Err: errors.New("for a reason")}
		post(500)
		expect("it begins", "accept events", "request")
		time.Sleep(outageEvery)
		post(500)
		expect("a minute later", "the store still refuses events *****")
		fault = nil
		post(1)
		expect("one is accepted at once", "request")
		fault = &adapter.UnavailableError{Message: "gone"}
		post(100)
		expect("it flaps")
		fault = nil
		time.Sleep(outageQuiet)
		post(1)
		expect("it ends", "the store accepts events again ***********", "request")
		fault = errors.New("a fault of ours")
		post(2)
		expect("no outage", "accept events", "request", "accept events", "request")
	})
}
