package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// flippingProxy is a proxy before a sandbox. While a test asks for it, the proxy answers with pages.
type flippingProxy struct {
	url      string
	status   atomic.Int64 // of the pages, 0 for none
	answered atomic.Int64 // pages
}

func startProxy(t *testing.T, sandbox string, status int) *flippingProxy {
	t.Helper()
	target, err := url.Parse(sandbox)
	if err != nil {
		t.Fatal(err)
	}
	p, forward := &flippingProxy{}, httputil.NewSingleHostReverseProxy(target)
	p.status.Store(int64(status))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status := int(p.status.Load()); status != 0 {
			p.answered.Add(1)
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			_, _ = w.Write([]byte("<html><h1>Nothing is here, " + r.URL.Path + "</h1><hr>nginx</html>"))
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// TestEveryAnswerIsAPage answers every request with a page, as a wrong base URL or a proxy in maintenance does. No
// event counts as delivered, none is dead, and the log has errors. All events arrive once SaaSquatch answers again.
func TestEveryAnswerIsAPage(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"a refusal": 404, "a success": 200} {
		t.Run(name, func(t *testing.T) {
			sandbox, dir := startSandbox(t), t.TempDir()
			proxy := startProxy(t, sandbox, status)
			s := startDurable(t, proxy.url, dir)
			batch, want := sampleBatch(t, 200)
			if got := post(t, s.url, testSecret, batch, batch); got.Status != http.StatusOK ||
				got.Counts["pending"] != 200 {
				t.Errorf("got %+v", got)
			}
			s.stderr.await(t, `"level":"error".*"msg":"delivery is paused".*"reason":"unexpected_answer"`)
			loud := s.stderr.await(t, `"level":"warn".*saasquatch.base_url.*"seen":"(HTTP \d+, [^"]*)"`)[1]
			if !strings.Contains(loud, "text/html, <html><h1>Nothing is here, "+
				"/api/v1/test_sandbox/open/account/[id]/user/[id]/events</h1>") {
				t.Errorf("seen: %s", loud)
			}
			if n := proxy.answered.Load(); n > 3+64 {
				t.Errorf("%d requests", n)
			}
			proxy.status.Store(0)
			awaitDrained(t, []string{"DATA_DIR=" + dir}, time.Minute)
			checkArrived(t, sandbox, want)
			if text := s.stderr.String(); strings.Contains(text, `"outcome":"dead"`) {
				t.Error("an event is dead")
			}
		})
	}
}

// TestPagesAmongAnswers mixes pages of proxies into SaaSquatch's answers, before and after events are processed. Each
// event arrives once, with durable and with direct delivery.
func TestPagesAmongAnswers(t *testing.T) {
	t.Parallel()
	faults := []string{"--fail", "10%:404:html", "--fail", "5%:200:html", "--fail", "5%:200:html:after", "--fail",
		"3%:403:html", "--latency", "2ms"}
	t.Run("durable", func(t *testing.T) {
		sandbox, dir := startSandbox(t, faults...), t.TempDir()
		s := startDurable(t, sandbox, dir)
		batch, want := sampleBatch(t, 300)
		if got := post(t, s.url, testSecret, batch, batch); got.Status != http.StatusOK {
			t.Errorf("got %+v", got)
		}
		awaitDrained(t, []string{"DATA_DIR=" + dir}, 2*time.Minute)
		checkArrived(t, sandbox, want)
		checkConservation(t, []string{"DATA_DIR=" + dir})
	})
	t.Run("direct", func(t *testing.T) {
		// An event is dead if it gets only pages until the time for the answer is over, so pages are rare here.
		sandbox := startSandbox(t, "--fail", "2%:404:html", "--fail", "5%:200:html", "--fail",
			"5%:200:html:after", "--latency", "2ms")
		s := startServer(t, sandbox, nil)
		batch, want := sampleBatch(t, 300)
		for post(t, s.url, testSecret, batch, batch).Status != http.StatusOK {
		}
		checkArrived(t, sandbox, want)
	})
}
