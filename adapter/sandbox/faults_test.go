package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter/sandbox"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]float64{
		"0": 0, "0%": 0, "1%": 0.01, "0.01": 0.01, "12.5%": 0.125, "100%": 1, "1": 1, ".5": 0.5,
	} {
		if got, err := sandbox.ParseRate(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "%", "5", "101%", "-1%", "1e-2", "NaN", "inf", "0x1p-2", "1 %", "1%%", "1.2.3",
		"1_0%", "."} {
		if got, err := sandbox.ParseRate(text); err == nil {
			t.Errorf("%q: read as %v", text, got)
		}
	}
}

func TestParseFail(t *testing.T) {
	for text, want := range map[string]sandbox.FailRule{
		"5%:503":                      {Rate: 0.05, Status: 503},
		"0.05:503":                    {Rate: 0.05, Status: 503},
		"1%:503:after":                {Rate: 0.01, Status: 503, After: true},
		"5%:429:retry-after=2s":       {Rate: 0.05, Status: 429, RetryAfter: 2 * time.Second},
		"5%:429:after:retry-after=1m": {Rate: 0.05, Status: 429, RetryAfter: time.Minute, After: true},
		"5%:429:retry-after=0s:after": {Rate: 0.05, Status: 429, After: true},
		"100%:409":                    {Rate: 1, Status: 409},
		"0%:599":                      {Status: 599},
		"1%:500:retry-after=1500ms":   {Rate: 0.01, Status: 500, RetryAfter: 1500 * time.Millisecond},
		"33.3%:301":                   {Rate: 0.333, Status: 301},
		"5%:404:html":                 {Rate: 0.05, Status: 404, Page: true},
		"5%:200:html:after":           {Rate: 0.05, Status: 200, Page: true, After: true},
	} {
		got, err := sandbox.ParseFail(text)
		if err != nil || got.Status != want.Status || got.RetryAfter != want.RetryAfter || got.After != want.After ||
			got.Page != want.Page || got.Rate-want.Rate > 1e-12 || want.Rate-got.Rate > 1e-12 {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "5%", "503", "5%:", ":503", "5%:200", "5%:304", "5%:600", "5%:99", "5%:5e2", "5%:+503",
		"5%:-50", "6:503",
		"5%:503:", "5%:503:before", "5%:503:retry-after", "5%:503:retry-after=2",
		"5%:503:retry-after=-2s", "5%:503 ",
		"5%:200:after", "5%:204:html", "5%:304:html", "5%:199:html", "5%:404:htm",
	} {
		if got, err := sandbox.ParseFail(text); err == nil {
			t.Errorf("%q: read as %+v", text, got)
		}
	}
}

func FuzzParseFail(f *testing.F) {
	for _, text := range []string{"5%:503", "0.05:429:retry-after=2s:after", "1%:503:after", "x",
		"1%:200:html:after",
		"100%:599:retry-after=1h2m3.5s"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rule, err := sandbox.ParseFail(text)
		if err != nil {
			return
		}
		again, err := sandbox.ParseFail(rule.String())
		if err != nil || again != rule {
			t.Errorf("%q is %+v, written as %q, which is %+v, %v", text, rule, rule, again, err)
		}
		if _, err := sandbox.New(sandbox.Options{Faults: sandbox.Faults{Fail: []sandbox.FailRule{rule}}}); err != nil {
			t.Errorf("%q is read but not accepted: %v", text, err)
		}
	})
}

// TestFailWithAPage answers as a proxy does, before or after the event is processed.
func TestFailWithAPage(t *testing.T) {
	for _, test := range []struct {
		rule     sandbox.FailRule
		accepted uint64
	}{
		{sandbox.FailRule{Rate: 1, Status: 404, Page: true}, 0},
		{sandbox.FailRule{Rate: 1, Status: 200, Page: true, RetryAfter: 2 * time.Second}, 0},
		{sandbox.FailRule{Rate: 1, Status: 200, Page: true, After: true}, 1},
	} {
		t.Run(test.rule.String(), func(t *testing.T) {
			s := newServer(t, withFaults(sandbox.Faults{Fail: []sandbox.FailRule{test.rule}}))
			w := send(s, "POST", events, eventBody("key-0001"))
			wantStatus(t, w, test.rule.Status)
			if body := w.Body.String(); !strings.HasPrefix(body, "<html>") ||
				!strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") ||
				(w.Header().Get("Retry-After") != "") != (test.rule.RetryAfter > 0) {
				t.Errorf("got %v %q", w.Header(), body)
			}
			if stats := s.Stats(); stats.EventsAccepted != test.accepted {
				t.Errorf("stats: %+v", stats)
			}
		})
	}
}

func FuzzParseRate(f *testing.F) {
	for _, text := range []string{"5%", "0.05", "1", "100%", "-1", "1e400%"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if rate, err := sandbox.ParseRate(text); err == nil && !(rate >= 0 && rate <= 1) {
			t.Errorf("%q is %v", text, rate)
		}
	})
}

func withFaults(faults sandbox.Faults) sandbox.Options {
	options := open()
	options.Faults = faults
	options.Rand = rand.New(rand.NewPCG(1, 2))
	return options
}

func TestFail(t *testing.T) {
	for _, test := range []struct {
		rule       sandbox.FailRule
		retryAfter string
		rsCode     string
		accepted   uint64
	}{
		{sandbox.FailRule{Rate: 1, Status: 503}, "", "RS014", 0},
		{sandbox.FailRule{Rate: 1, Status: 503, After: true}, "", "RS014", 1},
		{sandbox.FailRule{Rate: 1, Status: 429, RetryAfter: 2 * time.Second}, "2", "RS033", 0},
		{sandbox.FailRule{Rate: 1, Status: 429, RetryAfter: 1500 * time.Millisecond}, "2", "RS033", 0},
		{sandbox.FailRule{Rate: 1, Status: 302}, "", "", 0},
	} {
		t.Run(test.rule.String(), func(t *testing.T) {
			s := newServer(t, withFaults(sandbox.Faults{Fail: []sandbox.FailRule{test.rule}}))
			w := send(s, "POST", events, eventBody("key-0001"))
			wantStatus(t, w, test.rule.Status)
			if got := w.Header().Get("Retry-After"); got != test.retryAfter {
				t.Errorf("Retry-After %q, want %q", got, test.retryAfter)
			}
			if e := readError(t, w); *e.RSCode != test.rsCode {
				t.Errorf("rsCode %q, want %q", *e.RSCode, test.rsCode)
			}
			stats := s.Stats()
			if stats.EventsAccepted != test.accepted || stats.ByStatus[test.rule.Status] != 1 {
				t.Errorf("stats: %+v", stats)
			}
			if got := stats.Faults; got.FailedAfter != test.accepted || got.FailedBefore != 1-test.accepted {
				t.Errorf("faults: %+v", got)
			}
		})
	}
}

func TestFaultsSparePagesAndStrikeUsers(t *testing.T) {
	s := newServer(t, withFaults(sandbox.Faults{Fail: []sandbox.FailRule{{Rate: 1, Status: 503}}}))
	for _, path := range []string{"/_sandbox/", "/_sandbox/stats", "/_sandbox/events"} {
		wantStatus(t, send(s, "GET", path, ""), 200)
	}
	wantStatus(t, send(s, "PUT", userU1, upsert("")), 503)
	if n := s.Stats().Users; n != 0 {
		t.Errorf("%d users in spite of the failure", n)
	}
}

// TestRates checks that each fault hits its share of requests, that half of the lost requests are processed, and that
// the same random source gives the same decisions.
func TestRates(t *testing.T) {
	faults := sandbox.Faults{
		Fail:      []sandbox.FailRule{{Rate: 0.2, Status: 503}, {Rate: 0.1, Status: 429, After: true}},
		ResetRate: 0.2, TimeoutRate: 0.1, TimeoutLimit: time.Nanosecond,
	}
	const requests = 5000
	run := func() sandbox.Stats {
		s := newServer(t, withFaults(faults))
		for i := range requests {
			aborted(func() { send(s, "POST", events, eventBody(fmt.Sprintf("key-%06d", i))) })
		}
		return s.Stats()
	}
	stats := run()
	got := stats.Faults
	if fmt.Sprint(run().Faults) != fmt.Sprint(got) {
		t.Error("the same source made other faults")
	}
	near := func(name string, n uint64, rate float64) {
		t.Helper()
		if share := float64(n) / requests; share < rate-0.03 || share > rate+0.03 {
			t.Errorf("%s: share %v, want %v", name, share, rate)
		}
	}
	near("503", stats.ByStatus[503], 0.2)
	near("429", stats.ByStatus[429], 0.1)
	near("200", stats.ByStatus[200], 0.4)
	near("reset before", got.ResetBefore, 0.1)
	near("reset after", got.ResetAfter, 0.1)
	near("timed out before", got.TimedOutBefore, 0.05)
	near("timed out after", got.TimedOutAfter, 0.05)
	want := stats.ByStatus[200] + got.FailedAfter + got.ResetAfter + got.TimedOutAfter
	if stats.EventsAccepted != want {
		t.Errorf("%d events accepted, want %d", stats.EventsAccepted, want)
	}
}

// aborted reports whether f panics with http.ErrAbortHandler.
func aborted(f func()) (yes bool) {
	defer func() {
		switch r := recover(); r {
		case nil:
		case http.ErrAbortHandler:
			yes = true
		default:
			panic(r)
		}
	}()
	f()
	return false
}

func TestResetConnection(t *testing.T) {
	for _, lost := range []sandbox.When{sandbox.Before, sandbox.After} {
		for _, proto := range []string{"HTTP/1.1", "TLS", "HTTP/2"} {
			t.Run(fmt.Sprintf("%s lost=%d", proto, lost), func(t *testing.T) {
				s := newServer(t, withFaults(sandbox.Faults{ResetRate: 1, Lost: lost}))
				server := httptest.NewUnstartedServer(s)
				if proto == "HTTP/1.1" {
					server.Start()
				} else {
					server.EnableHTTP2 = proto == "HTTP/2"
					server.StartTLS()
				}
				defer server.Close()
				r := newRequest("POST", server.URL+events, eventBody("key-0001"))
				r.RequestURI = ""
				response, err := server.Client().Do(r)
				if err == nil {
					response.Body.Close()
					t.Fatalf("status %d", response.StatusCode)
				}
				if proto != "HTTP/2" && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("error %v, want a reset connection", err)
				}
				var want uint64
				if lost == sandbox.After {
					want = 1
				}
				if got := s.Stats(); got.EventsAccepted != want || got.Faults.ResetAfter != want ||
					got.Faults.ResetBefore != 1-want || len(got.ByStatus) != 0 {
					t.Errorf("stats: %+v", got)
				}
			})
		}
	}
}

func TestTimeout(t *testing.T) {
	const limit = 30 * time.Second
	for _, test := range []struct {
		name    string
		patient time.Duration // of the client
		want    time.Duration
		lost    sandbox.When
	}{
		{"client gives up", 3 * time.Second, 3 * time.Second, sandbox.Before},
		{"client gives up on a processed request", 3 * time.Second, 3 * time.Second, sandbox.After},
		{"patient client", time.Hour, limit, sandbox.Before},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, withFaults(sandbox.Faults{TimeoutRate: 1, TimeoutLimit: limit, Lost: test.lost}))
				ctx, cancel := context.WithTimeout(t.Context(), test.patient)
				defer cancel()
				start := time.Now()
				w := httptest.NewRecorder()
				if !aborted(func() { s.ServeHTTP(w, newRequest("POST", events, eventBody("")).WithContext(ctx)) }) {
					t.Errorf("answered: %d", w.Code)
				}
				if got := time.Since(start); got != test.want {
					t.Errorf("took %v, want %v", got, test.want)
				}
				if accepted := s.Stats().EventsAccepted == 1; accepted != (test.lost == sandbox.After) {
					t.Errorf("accepted: %v", accepted)
				}
			})
		})
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := withFaults(sandbox.Faults{Latency: 80 * time.Millisecond})
		options.Now = nil
		s := newServer(t, options)
		start := time.Now()
		wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 200)
		if got := time.Since(start); got != 80*time.Millisecond {
			t.Errorf("took %v", got)
		}
		// The request of a client that gives up was processed.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		do(s, newRequest("POST", events, eventBody("key-0002")).WithContext(ctx))
		if n := s.Stats().EventsAccepted; n != 2 {
			t.Errorf("%d events accepted", n)
		}
	})
}

func TestCloseEndsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, withFaults(sandbox.Faults{TimeoutRate: 1, TimeoutLimit: time.Hour}))
		start := time.Now()
		done := make(chan bool)
		go func() {
			done <- aborted(func() { send(s, "POST", events, eventBody("")) })
		}()
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if !<-done || time.Since(start) != 0 {
			t.Errorf("the request ended after %v", time.Since(start))
		}
	})
}

func TestInjectedErrorSaysSo(t *testing.T) {
	s := newServer(t, withFaults(sandbox.Faults{Fail: []sandbox.FailRule{{Rate: 1, Status: 500}}}))
	if e := readError(t, send(s, "POST", events, eventBody(""))); !strings.Contains(*e.Message, "injected") {
		t.Errorf("message %q", *e.Message)
	}
}
