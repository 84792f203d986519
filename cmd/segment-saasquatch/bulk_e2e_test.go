package main

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// TestBulkDelivery sends events and identify calls by bulk calls to sandboxes that refuse, damage or lose their parts.
// In the end every event has arrived once.
func TestBulkDelivery(t *testing.T) {
	t.Parallel()
	known := []string{"--users", "known"}
	for name, test := range map[string]struct {
		sandbox []string
		rules   string
		// most is how many requests are allowed, 0 for any number.
		most int
	}{
		"plain":         {most: 30},
		"unknown users": {sandbox: known},
		"users first":   {sandbox: known, rules: "users: {ensure: before}\n", most: 40},
		"users always":  {sandbox: known, rules: "users: {from_track: always}\n", most: 40},
		// A failed attempt would use up the key of an event that comes before its user.
		"burnt keys": {sandbox: append([]string{"--burn-keys", "--bulk-limit", "30"}, known...),
			rules: "users: {ensure: before}\n", most: 60},
		"small calls":  {sandbox: []string{"--bulk-limit", "30"}, most: 60},
		"small bodies": {sandbox: []string{"--bulk-bytes", "5000"}, most: 120},
		"shuffled":     {sandbox: []string{"--bulk-list", "shuffled"}},
		"short":        {sandbox: []string{"--bulk-list", "short"}},
		"long":         {sandbox: []string{"--bulk-list", "long"}},
		"null":         {sandbox: []string{"--bulk-list", "null"}},
		"missing":      {sandbox: []string{"--bulk-list", "missing"}},
		"items": {sandbox: []string{"--bulk-items", "--fail", "5%:503", "--fail", "5%:429", "--fail",
			"5%:500:after"}},
		"calls": {sandbox: []string{"--fail", "10%:503", "--reset", "10%"}},
		// GraphQL would refuse the whole call for one such value.
		"values of wrong types": {rules: `users:
  from_track: always
  from_track_body: '{"firstName": "Ada", "referable": properties.id = "keyed-0" ? "yes" : true}'
`, most: 40},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const users = 150
			sandbox, dir := startSandbox(t, test.sandbox...), t.TempDir()
			env := []string{"DATA_DIR=" + dir}
			s := startServer(t, sandbox, append(env, "DELIVERY=durable", "SAASQUATCH_BULK=100"), "--config",
				configFile(t, "events: {}\n"+test.rules))
			var batch bytes.Buffer
			want := make(map[string]int)
			for i := range users {
				user, id := fmt.Sprintf("user-%d", i), fmt.Sprintf("keyed-%d", i)
				if i%3 == 0 {
					fmt.Fprintf(&batch, `,{"type":"identify","userId":%q,"messageId":"identify-%d",`+
						`"traits":{"number":%[2]d}}`, user, i)
				}
				fmt.Fprintf(&batch, `,{"type":"track","userId":%q,"event":"Stepped","messageId":"message-%s",`+
					`"properties":{"id":%[2]q}}`, user, id)
				want["message-"+id+"/"+user]++
			}
			body := append(append([]byte("["), batch.Bytes()[1:]...), ']')
			if got := post(t, s.url, testSecret, body, body); got.Status != http.StatusOK {
				t.Fatalf("got %+v", got)
			}
			awaitDrained(t, env, 2*time.Minute)
			checkArrived(t, sandbox, want)
			for i := 0; i < users; i += 21 {
				if number := numberOf(t, sandbox, fmt.Sprintf("user-%d", i)); number != i {
					t.Errorf("user-%d has the number %d", i, number)
				}
			}
			checkConservation(t, env)
			if code, out, _ := deliveries(t, env, "list", "--outcome", "dead", "--json"); code != exitOK || out != "" {
				t.Errorf("exit code %d, dead: %s", code, out)
			}
			stats := get[struct{ Requests, BulkCalls int }](t, sandbox+"/_sandbox/stats")
			if stats.BulkCalls < 2 || test.most > 0 && stats.Requests > test.most {
				t.Errorf("%d requests, %d of them bulk calls; want at most %d", stats.Requests, stats.BulkCalls,
					test.most)
			}
			t.Logf("%d requests, %d of them bulk calls", stats.Requests, stats.BulkCalls)
		})
	}
}
