package replay_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"segment-saasquatch/adapter/replay/replaytest"

	"segment-saasquatch/adapter/replay"
)

// TestIdentify replays identify calls in mixed order, over several files.
func TestIdentify(t *testing.T) {
	t.Parallel()
	id := 0
	identify := func(user, name, timestamp string) string {
		id++
		if timestamp != "" {
			timestamp = fmt.Sprintf(`,"timestamp":%q`, timestamp)
		}
		const call = `{"type":"Identify","userId":%q,"messageId":"identify-%d","traits":{"firstName":%q}%s}`
		return fmt.Sprintf(call+"\n", user, id, name, timestamp)
	}
	const noon, later = "2026-11-01T12:00:00Z", "2026-11-02T12:00:00Z"
	dir := t.TempDir()
	for i, lines := range []string{
		identify("u-1", "newest", later) + identify("u-2", "old", noon) + identify("u-3", "untimed", "") +
			identify("u-5", "too old for an event, not for a user", "2019-01-01T00:00:00Z"),
		identify("u-1", "old", noon) + identify("u-2", "newest", later) + identify("u-4", "same time, earlier", noon),
		identify("u-2", "untimed", "") + identify("u-3", "untimed and last", "") +
			identify("u-4", "same time, last", noon),
	} {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.ndjson", i)), []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	newest := map[string]string{
		"u-1": "newest", "u-2": "newest", "u-3": "untimed and last", "u-4": "same time, last",
		"u-5": "too old for an event, not for a user",
	}
	for _, test := range []struct {
		which replay.Identify
		want  string
	}{
		{replay.IdentifyMerged, "5 delivered, 5 skipped identify_superseded"},
		{replay.IdentifyNewest, "5 delivered, 5 skipped identify_superseded"},
		{replay.IdentifyAll, "10 delivered"},
		{replay.IdentifyNone, "10 skipped filtered_identify"},
	} {
		t.Run(string(test.which), func(t *testing.T) {
			to := newTenant()
			p := startProcess(t, replaytest.StorePath(t), to)
			defer p.end()
			spec := &replay.Spec{Sources: []string{dir}, Via: replay.ViaAPI, Identify: test.which}
			if got := replaytest.Text(p.deliver(spec)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			to.mu.Lock()
			defer to.mu.Unlock()
			if test.which != replay.IdentifyNewest && test.which != replay.IdentifyMerged {
				return
			}
			for user, name := range newest {
				if bodies := to.users[user]; len(bodies) != 1 ||
					!strings.Contains(bodies[0], `"firstName":"`+name+`"`) {
					t.Errorf("user %s was upserted with %q, want the name %s", user, bodies, name)
				}
			}
		})
	}
}
