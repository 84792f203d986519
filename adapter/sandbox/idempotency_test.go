package sandbox_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter/sandbox"
)

func TestKeyWindow(t *testing.T) {
	for _, test := range []struct {
		after  time.Duration
		status int
	}{
		{0, 409},
		{24*time.Hour - time.Millisecond, 409},
		{24 * time.Hour, 200},
		{24*time.Hour + time.Millisecond, 200},
	} {
		t.Run(test.after.String(), func(t *testing.T) {
			options := open()
			c := newClock()
			options.Now = c.Now
			s := newServer(t, options)
			wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 200)
			// A conflict does not prolong the window.
			c.now = c.now.Add(test.after / 2)
			wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 409)
			c.now = c.now.Add(test.after - test.after/2)
			w := send(s, "POST", events, eventBody("key-0001"))
			wantStatus(t, w, test.status)
			if test.status == 409 {
				readError(t, w)
				return
			}
			// The second processing begins a window of its own.
			c.now = c.now.Add(24*time.Hour - time.Millisecond)
			wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 409)
			if n := s.Stats().IdempotencyKeys; n != 1 {
				t.Errorf("%d keys are held, want 1", n)
			}
		})
	}
}

func TestKeysExpire(t *testing.T) {
	s := newServer(t, open())
	for i := range 2500 {
		wantStatus(t, send(s, "POST", events, eventBody(fmt.Sprintf("key-%06d", i))), 200)
		if i == 1249 {
			if err := s.Advance(time.Hour); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, step := range []struct {
		advance time.Duration
		want    int
	}{{0, 2500}, {23*time.Hour - 1, 2500}, {1, 1250}, {time.Hour, 0}} {
		if err := s.Advance(step.advance); err != nil {
			t.Fatal(err)
		}
		if got := s.Stats().IdempotencyKeys; got != step.want {
			t.Errorf("%d keys are held, want %d", got, step.want)
		}
	}
}

// TestClockThatIsSetBack checks that a key stays when its older receipt expires.
func TestClockThatIsSetBack(t *testing.T) {
	options := open()
	c := newClock()
	options.Now = c.Now
	s := newServer(t, options)
	wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 200)
	c.now = c.now.Add(48 * time.Hour)
	wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 200)
	c.now = c.now.Add(-47 * time.Hour)
	wantStatus(t, send(s, "POST", events, eventBody("key-0002")), 200)
	c.now = c.now.Add(47 * time.Hour)
	wantStatus(t, send(s, "POST", events, eventBody("key-0003")), 200)
	wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 409)
}

func TestKeysAreScopedByTenant(t *testing.T) {
	options := open()
	options.Tenants["other"] = apiKey
	s := newServer(t, options)
	wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 200)
	wantStatus(t, send(s, "POST", strings.Replace(events, alias, "other", 1), eventBody("key-0001")), 200)
	// The users of a tenant share its keys.
	body := strings.Replace(eventBody("key-0001"), `"u1"`, `"u2"`, 1)
	wantStatus(t, send(s, "POST", strings.Replace(events, "/u1/", "/u2/", 1), body), 409)
}

func TestWithoutKeyNothingConflicts(t *testing.T) {
	s := newServer(t, open())
	for range 3 {
		wantStatus(t, send(s, "POST", events, eventBody("")), 200)
	}
	if stats := s.Stats(); stats.EventsAccepted != 3 || stats.RequestsWithoutKey != 3 || stats.IdempotencyKeys != 0 {
		t.Errorf("stats: %+v", stats)
	}
}

func TestConcurrentRequestsWithOneKey(t *testing.T) {
	s := newServer(t, open())
	server := httptest.NewServer(s)
	defer server.Close()
	const clients, rounds = 32, 20
	for round := range rounds {
		var wg sync.WaitGroup
		statuses := make([]int, clients)
		for i := range clients {
			wg.Go(func() {
				r := newRequest("POST", server.URL+events, eventBody(fmt.Sprintf("key-%04d", round)))
				r.RequestURI = ""
				response, err := server.Client().Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				defer response.Body.Close()
				statuses[i] = response.StatusCode
			})
		}
		wg.Wait()
		count := map[int]int{}
		for _, status := range statuses {
			count[status]++
		}
		if count[http.StatusOK] != 1 || count[http.StatusConflict] != clients-1 {
			t.Fatalf("statuses: %v", count)
		}
	}
	if stats := s.Stats(); stats.EventsAccepted != rounds || stats.Conflicts != rounds*(clients-1) ||
		stats.BurntConflicts != 0 {
		t.Errorf("stats: %+v", stats)
	}
}

// TestBurnKeys checks failed attempts with and without BurnKeys.
func TestBurnKeys(t *testing.T) {
	fail := func(rule sandbox.FailRule) func(*sandbox.Options) {
		return func(o *sandbox.Options) { o.Faults.Fail = []sandbox.FailRule{rule} }
	}
	invalid := strings.Replace(eventBody("key-0001"), `"events"`, `"x":1,"events":[1],"y"`, 1)
	tests := []struct {
		name    string
		faults  func(*sandbox.Options)
		path    string
		body    string
		prepare func(*http.Request)
		status  int
		burns   bool
	}{
		{name: "unknown user", path: events, body: eventBody("key-0001"), status: 404, burns: true},
		{name: "invalid body", path: events, body: invalid, status: 400, burns: true},
		{name: "key behind the fault", path: events, body: `{"userId":1,"idempotencyKey":"key-0001"}`,
			status: 400, burns: true},
		{name: "503 before", faults: fail(sandbox.FailRule{Rate: 1, Status: 503}), path: events,
			body: eventBody("key-0001"), status: 503, burns: true},
		{name: "unreadable body", path: events, body: `{"idempotencyKey":"key-0001"`, status: 400, burns: true},
		{name: "no JSON at all", path: events, body: `key-0001`, status: 400},
		{name: "invalid key", path: events, body: `{"idempotencyKey":"key:0001"}`, status: 400},
		{name: "wrong API key", path: events, body: eventBody("key-0001"),
			prepare: func(r *http.Request) { r.SetBasicAuth("", "no") }, status: 401},
		{name: "503 and a wrong API key", faults: fail(sandbox.FailRule{Rate: 1, Status: 503}), path: events,
			body: eventBody("key-0001"), prepare: func(r *http.Request) { r.SetBasicAuth("", "no") }, status: 503},
	}
	for _, test := range tests {
		for _, burn := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s burn=%v", test.name, burn), func(t *testing.T) {
				options := open()
				options.Users = sandbox.KnownUsers
				options.BurnKeys = burn
				if test.faults != nil {
					test.faults(&options)
				}
				s := newServer(t, options)
				r := newRequest("POST", test.path, test.body)
				if test.prepare != nil {
					test.prepare(r)
				}
				wantStatus(t, do(s, r), test.status)
				stats := s.Stats()
				want := 0
				if burn && test.burns {
					want = 1
				}
				if stats.IdempotencyKeys != want || stats.EventsAccepted != 0 {
					t.Errorf("keys %d, want %d; events %d", stats.IdempotencyKeys, want, stats.EventsAccepted)
				}
				if test.faults != nil {
					return
				}
				wantStatus(t, send(s, "PUT", userU1, `{"id":"u1","accountId":"a1"}`), 200)
				w := send(s, "POST", events, eventBody("key-0001"))
				if want == 0 {
					wantStatus(t, w, 200)
					return
				}
				wantStatus(t, w, 409)
				if stats := s.Stats(); stats.Conflicts != 1 || stats.BurntConflicts != 1 ||
					stats.EventsAccepted != 0 {
					t.Errorf("stats: %+v", stats)
				}
			})
		}
	}
}
