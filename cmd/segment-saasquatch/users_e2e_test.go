package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sandboxUser is a user in the sandbox.
type sandboxUser struct {
	Status          int
	FirstName       string
	Email           string
	Locale          string
	Segments        []string
	ReferredByCodes []string
	CustomFields    map[string]any
}

// lookUp returns a user of a sandbox, whose accountId is the userId.
func lookUp(t *testing.T, sandbox, id string) (user sandboxUser) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet,
		sandbox+"/api/v1/"+sandboxTenant+"/open/account/"+id+"/user/"+id, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("", sandboxKey)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&user); err != nil {
		t.Fatal(err)
	}
	user.Status = response.StatusCode
	return user
}

// strictSandbox starts a sandbox without users.
func strictSandbox(t *testing.T, args ...string) string {
	t.Helper()
	return startSandbox(t, append([]string{"--users", "known"}, args...)...)
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestUsers sends an identify call and events of unknown users, as in the examples of SaaSquatch's own Segment
// integration, with both ways of delivery.
func TestUsers(t *testing.T) {
	t.Parallel()
	config := configFile(t, `users:
  segments: '[traits.trait2, "hardcoded"]'
  from_track: 'event = "Order Completed" ? "ALWAYS" : "MISSING_USER"'
  from_track_body: '{"email": context.traits.email}'
`)
	batch := []byte(`[
{"type":"identify","userId":"u-1","messageId":"message-1","context":{"locale":"en-us"},
 "traits":{"firstName":"Ada","email":"ada@example.com","trait2":"gold","referredByCodes":["JOHNDOE"]}},
{"type":"track","userId":"u-1","event":"Signed Up","messageId":"message-2"},
{"type":"track","userId":"u-2","event":"Signed Up","messageId":"message-3",
 "context":{"traits":{"email":"bob@example.com"}}},
{"type":"track","userId":"u-3","event":"Order Completed","messageId":"message-4",
 "properties":{"order_id":"1","total":10,"currency":"USD"}}]`)
	for _, delivery := range []string{"direct", "durable"} {
		t.Run(delivery, func(t *testing.T) {
			sandbox := strictSandbox(t)
			dir := t.TempDir()
			s := startServer(t, sandbox, []string{"DELIVERY=" + delivery, "DATA_DIR=" + dir}, "--config", config)
			if got := post(t, s.url, testSecret, batch, batch); got.Status != http.StatusOK {
				t.Fatalf("got %+v", got)
			}
			if delivery == "durable" {
				awaitDrained(t, []string{"DATA_DIR=" + dir}, 20*time.Second)
				checkConservation(t, []string{"DATA_DIR=" + dir})
			}
			checkArrived(t, sandbox, map[string]int{"message-2/u-1": 1, "message-3/u-2": 1, "message-4/u-3": 1})
			ada := lookUp(t, sandbox, "u-1")
			if ada.FirstName != "Ada" || ada.Email != "ada@example.com" || ada.Locale != "en_US" ||
				ada.CustomFields["trait2"] != "gold" ||
				strings.Join(ada.Segments, " ") != "gold hardcoded" ||
				strings.Join(ada.ReferredByCodes, " ") != "JOHNDOE" {
				t.Errorf("u-1 is %+v", ada)
			}
			if bob := lookUp(t, sandbox, "u-2"); bob.Email != "bob@example.com" {
				t.Errorf("u-2 is %+v", bob)
			}
			if other := lookUp(t, sandbox, "u-3"); other.Status != http.StatusOK {
				t.Errorf("u-3 is %+v", other)
			}
			// The same request again changes nothing.
			before := requests(t, sandbox)
			post(t, s.url, testSecret, batch, batch)
			if delivery == "durable" {
				awaitDrained(t, []string{"DATA_DIR=" + dir}, 20*time.Second)
			}
			if after := requests(t, sandbox); after != before {
				t.Errorf("%d calls for a redelivery", after-before)
			}
		})
	}
}

// TestMissingUserCostsOneCallOnce counts the calls for events of one user.
func TestMissingUserCostsOneCallOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		ensure       string
		first, later int
	}{{"after", 3, 1}, {"before", 2, 1}} {
		t.Run(test.ensure, func(t *testing.T) {
			sandbox := strictSandbox(t)
			s := startServer(t, sandbox, nil, "--config", configFile(t, "users:\n  ensure: "+test.ensure+"\n"))
			for i, want := range []int{test.first, test.later, test.later} {
				before := requests(t, sandbox)
				event := []byte(`{"type":"track","userId":"u","event":"x","messageId":"message-` +
					string(rune('1'+i)) + `"}`)
				if got := post(t, s.url, testSecret, event, event); got.Message != "delivered" {
					t.Errorf("got %+v", got)
				}
				if calls := requests(t, sandbox) - before; calls != want {
					t.Errorf("event %d made %d calls, want %d", i+1, calls, want)
				}
			}
		})
	}
}

// TestKeyIsUsedUpByOurOwn404 has SaaSquatch use up the key of an event that it refuses for its unknown user. The
// report shows that, unless the user is created first.
func TestKeyIsUsedUpByOurOwn404(t *testing.T) {
	t.Parallel()
	event := []byte(`{"type":"track","userId":"u","event":"x","messageId":"message-1"}`)
	sandbox := strictSandbox(t, "--burn-keys")
	s := startServer(t, sandbox, nil)
	if got := post(t, s.url, testSecret, event, event); got.Results[0].Outcome != "duplicate" ||
		got.Results[0].Reason != "conflict_after_failure" {
		t.Errorf("got %+v", got)
	}
	s.stderr.await(t, `"reason":"conflict_after_failure"`)

	sandbox = strictSandbox(t, "--burn-keys")
	s = startServer(t, sandbox, nil, "--config", configFile(t, "users:\n  ensure: before\n"))
	if got := post(t, s.url, testSecret, event, event); got.Message != "delivered" {
		t.Errorf("with the user first: %+v", got)
	}
	checkArrived(t, sandbox, map[string]int{"message-1/u": 1})
}

// TestRefusedFieldsDoNotBlockTheUser has SaaSquatch refuse optional fields.
func TestRefusedFieldsDoNotBlockTheUser(t *testing.T) {
	t.Parallel()
	sandbox := strictSandbox(t)
	s := startServer(t, sandbox, nil)
	event := []byte(`{"type":"identify","userId":"u","messageId":"message-1","traits":{"firstName":"Ada",` +
		`"referredByCodes":["no code at all!"],"plan":"pro"}}`)
	if got := post(t, s.url, testSecret, event, event); got.Message != "delivered" {
		t.Errorf("got %+v", got)
	}
	s.stderr.await(t, "field_refused")
	if user := lookUp(t, sandbox, "u"); user.FirstName != "Ada" || user.CustomFields["plan"] != "pro" ||
		len(user.ReferredByCodes) != 0 {
		t.Errorf("the user is %+v", user)
	}
}

// TestExpressionThatFails has an expression that fails at the delivery. The event is accepted, and becomes a dead
// letter with the message. A redrive with better rules sends it.
func TestExpressionThatFails(t *testing.T) {
	t.Parallel()
	sandbox := strictSandbox(t)
	dir := t.TempDir()
	env := []string{"DELIVERY=durable", "DATA_DIR=" + dir, "SAASQUATCH_TENANT_ALIAS=" + sandboxTenant,
		"SAASQUATCH_BASE_URL=" + sandbox}
	s := startServer(t, sandbox, env, "--config", configFile(t,
		"events:\n  transform: '$merge([$, {\"fields\": 1 + \"a\"}])'\n"))
	event := []byte(`{"type":"track","userId":"u","event":"x","messageId":"message-1"}`)
	if got := post(t, s.url, testSecret, event, event); got.Results[0].Outcome != "pending" ||
		got.Results[0].Reason != "accepted" {
		t.Errorf("got %+v", got)
	}
	s.stderr.await(t, `"outcome":"rejected","reason":"expression_failed"`)
	if _, list, _ := deliveries(t, env, "list", "--json"); !strings.Contains(list,
		`"outcome":"rejected","reason":"expression_failed"`) {
		t.Errorf("the store has %s", list)
	}
	checkConservation(t, env)
	if code, out, stderr := deliveries(t, env, "redrive", "--yes"); code != exitOK ||
		!strings.Contains(out, "1 of 1 deliveries are pending now") {
		t.Errorf("exit code %d: %s%s", code, out, stderr)
	}
	_ = s.Process.Kill()
	<-s.exited
	startServer(t, sandbox, env)
	awaitDrained(t, env, 20*time.Second)
	checkArrived(t, sandbox, map[string]int{"message-1/u": 1})
}
