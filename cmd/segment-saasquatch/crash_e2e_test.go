package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// crash is a case of TestCrash.
type crash struct {
	postgres bool
	bulk     int
	unkeyed  string // unkeyed_ambiguous
	sandbox  []string
}

// TestCrash kills servers ten times while they accept and deliver: one on SQLite, and three replicas on PostgreSQL.
func TestCrash(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]crash{
		"sqlite":           {bulk: 1, unkeyed: "retry"},
		"sqlite in bulk":   {bulk: 100, unkeyed: "dead", sandbox: []string{"--bulk-items"}},
		"postgres":         {bulk: 1, unkeyed: "dead", postgres: true},
		"postgres in bulk": {bulk: 100, unkeyed: "retry", postgres: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

func (c crash) run(t *testing.T) {
	// An event that overtakes its user's first identify call meets an unknown user, and is dead.
	sandbox := strictSandbox(t, append(slices.Clone(faults), c.sandbox...)...)
	rules := neverUpsert(t)
	env := []string{"DELIVERY=durable", "SAASQUATCH_BULK=" + strconv.Itoa(c.bulk), "UNKEYED_AMBIGUOUS=" + c.unkeyed}
	replicas, database := 1, ""
	if c.postgres {
		replicas, database = 3, newDatabase(t)
		env = append(env, "STORE="+database, "DATA_DIR="+t.TempDir())
	} else {
		env = append(env, "DATA_DIR="+t.TempDir())
	}
	servers, urls := make([]*server, replicas), make([]string, replicas)
	run := func(i int) {
		servers[i] = startServer(t, sandbox, env, "--config", rules)
		urls[i] = servers[i].url
	}
	kill := func(i int) {
		if err := servers[i].Process.Kill(); err != nil {
			t.Fatal(err)
		}
		servers[i].wait()
	}
	// The leases of a killed replica would last for 90 s. No other replica may be alive.
	endLeases := func() {
		if !c.postgres {
			return
		}
		out, err := exec.Command("psql", database, "-qc", "UPDATE leases SET until = 1").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for i := range servers {
		run(i)
	}
	l := startLoadOf(t, 4, journeys, slices.Clone(urls)...)
	for n := 1; n <= 10; n++ {
		l.awaitAcknowledged(20 + rand.IntN(120)) // a crash at any moment
		first := rand.IntN(replicas)
		kill(first)
		if n%4 == 0 { // all at once
			for i := range servers {
				if i != first {
					kill(i)
				}
			}
			endLeases()
			for i := range servers {
				if i != first {
					run(i)
				}
			}
		}
		run(first)
		now := slices.Clone(urls)
		l.urls.Store(&now)
	}
	acknowledged := l.finish()
	if c.postgres {
		kill(0)
		for _, s := range servers[1:] {
			if err := s.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if code := s.wait(); code != exitOK {
				t.Errorf("exit code %d", code)
			}
		}
		endLeases() // of the killed one; the others have given back theirs
		run(0)
	}
	awaitDrained(t, env, 3*time.Minute) // an event that was parked at a crash is due a minute later
	c.check(t, sandbox, env, acknowledged)
	checkConservation(t, env)
	if calls := get[struct{ BulkCalls int }](t, sandbox+"/_sandbox/stats").BulkCalls; calls > 0 != (c.bulk > 1) {
		t.Errorf("%d bulk calls", calls)
	}
}

var lastUser atomic.Int64

// journeys are batches of the calls of two users. A user has three identify calls with growing numbers. Behind each
// there is an event with an idempotency key and one without. An event is named by its messageId, and an identify call
// by user/number.
func journeys() batches {
	var users []string
	number := 0
	return func() (body []byte, want map[string]int) {
		if number = number%3 + 1; number == 1 {
			users = []string{fmt.Sprintf("user-%d", lastUser.Add(1)), fmt.Sprintf("user-%d", lastUser.Add(1))}
		}
		want = make(map[string]int)
		now := time.Now().UTC().Format(time.RFC3339Nano)
		call := func(id, user, format string, args ...any) {
			body = fmt.Appendf(append(body, ','), `{"messageId":%q,"userId":%q,"timestamp":%q,%s}`, id, user, now,
				fmt.Sprintf(format, args...))
		}
		for _, user := range users {
			want[fmt.Sprintf("%s/%d", user, number)]++
			call(fmt.Sprintf("identify-%s-%d", user, number), user, `"type":"identify","traits":{"number":%d}`, number)
			for _, id := range []string{
				fmt.Sprintf("keyed-%s-%d", user, number),
				fmt.Sprintf("unkeyed-%060d-%s-%d", 0, user, number), // too long for a key
			} {
				want[id]++
				call(id, user, `"type":"track","event":"Stepped","properties":{"id":%q}`, id)
			}
		}
		body[0] = '['
		return append(body, ']'), want
	}
}

// check compares the acknowledged calls of journeys with those that arrived.
func (c crash) check(t *testing.T, sandbox string, env []string, acknowledged map[string]int) {
	t.Helper()
	dead := make(map[string]bool)
	for _, outcome := range []string{"dead", "rejected"} {
		code, out, stderr := deliveries(t, env, "list", "--outcome", outcome, "--limit", "100000", "--json")
		if code != exitOK {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		for line := range strings.Lines(out) {
			var d struct {
				ID     string `json:"message_id"`
				Reason string
			}
			if err := json.Unmarshal([]byte(line), &d); err != nil {
				t.Fatal(err)
			}
			if d.Reason != "unkeyed_ambiguous" || c.unkeyed != "dead" || !strings.HasPrefix(d.ID, "unkeyed-") {
				t.Errorf("dead: %s", line)
			}
			dead[d.ID] = true
		}
	}
	got, twice := make(map[string]int), 0
	for _, event := range arrivedEvents(t, sandbox) {
		id := event.Fields.ID
		if want := map[bool]string{true: id}[strings.HasPrefix(id, "keyed-")]; event.IdempotencyKey != want {
			t.Errorf("event %s has the key %q", id, event.IdempotencyKey)
		}
		if got[id]++; got[id] == 2 {
			twice++
			if event.IdempotencyKey != "" || c.unkeyed == "dead" {
				_, list, _ := deliveries(t, env, "list", "--message-id", id, "--json")
				t.Errorf("event %s arrived twice: %s", id, list)
			}
		}
	}
	lost, newest := 0, make(map[string]int)
	for name := range acknowledged {
		if user, number, ok := strings.Cut(name, "/"); ok {
			n, _ := strconv.Atoi(number)
			newest[user] = max(newest[user], n)
		} else if got[name] == 0 && !dead[name] {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged events did not arrive", lost, len(acknowledged))
	}
	for user, want := range newest {
		// A batch without an acknowledgement may be stored, too.
		if number := numberOf(t, sandbox, user); number < want {
			t.Errorf("%s has the number %d, want %d", user, number, want)
		}
	}
	t.Logf("%d calls acknowledged, %d events arrived, %d of them without a key twice, %d dead", len(acknowledged),
		len(got), twice, len(dead))
}

// numberOf looks up the number in the latest identify call of a user. It asks again while the sandbox injects faults.
func numberOf(t *testing.T, sandbox, user string) int {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet,
		sandbox+"/api/v1/"+sandboxTenant+"/open/account/"+user+"/user/"+user, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("", sandboxKey)
	for range 20 {
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			continue
		}
		var found struct{ CustomFields struct{ Number int } }
		err = json.NewDecoder(response.Body).Decode(&found)
		response.Body.Close()
		switch {
		case response.StatusCode >= http.StatusTooManyRequests:
		case err != nil || response.StatusCode != http.StatusOK:
			t.Fatalf("%s: %s, %v", user, response.Status, err)
		default:
			return found.CustomFields.Number
		}
	}
	t.Fatal("the sandbox does not answer")
	return 0
}
