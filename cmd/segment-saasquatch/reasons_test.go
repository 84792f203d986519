package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEveryReasonShows causes every reason to skip or reject an event. The answer, the log and the output of map have
// the reason.
func TestEveryReasonShows(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Format(time.RFC3339)
	const valid = `"type":"track","userId":"u","event":"e","messageId":"message-%d"`
	reasons := map[string]string{
		"unsupported_type":    `{"type":"page","userId":"u"}`,
		"no_user_id":          `{"type":"track","anonymousId":"a","event":"e"}`,
		"placeholder_user_id": `{"type":"track","userId":"undefined","event":"e"}`,
		"event_not_selected":  `{"type":"track","userId":"u","event":"Left Out"}`,
		"outside_time_window": `{"type":"track","userId":"u","event":"e","timestamp":"2001-01-01T00:00:00Z"}`,
		"identify_disabled":   `{"type":"identify","userId":"u"}`,
		"invalid_json":        `{"type":"track","type":"track"}`,
		"missing_type":        `{"userId":"u"}`,
		"invalid_user_id":     `{"type":"track","userId":"..","event":"e"}`,
		"invalid_account_id":  `{"type":"track","userId":"u","event":"e","context":{"groupId":"."}}`,
		"missing_event_name":  `{"type":"track","userId":"u"}`,
		"empty_event_key":     `{"type":"track","userId":"u","event":"購入"}`,
		"unsupported_value":   `{"type":"track","userId":"u","event":"e","properties":{"m":[[1]]}}`,
		"expression_failed":   `{"type":"track","userId":"u","event":"e","properties":{"fail":true}}`,
	}
	warnings := map[string]string{
		"field_invalid": `{"type":"track","userId":"u","event":"Order ` +
			`Completed","messageId":"message-%d","properties":{"revenue":"x"}`,
		"field_name_collision":  `{` + valid + `,"properties":{"a b":1,"ab":2}`,
		"field_name_empty":      `{` + valid + `,"properties":{"!":1}`,
		"message_id_invalid":    `{"type":"track","userId":"u","event":"e","messageId":"short"`,
		"message_id_missing":    `{"type":"track","userId":"u","event":"e"`,
		"no_timestamp":          `{` + valid + `,"timestamp":"never"}`,
		"properties_not_object": `{` + valid + `,"properties":"{\"a\":1}"`,
		"string_truncated":      `{` + valid + `,"properties":{"s":"` + strings.Repeat("x", 1025) + `"}`,
	}

	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("account_id: [context.groupId, userId]\ninvalid_values: "+
		"discard_event\nevents: {except: [Left Out]}\n"+
		"users: {identify: false, from_track_body: 'properties.fail ? $error(\"failed\")'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var refused, warned []string
	for _, event := range reasons {
		refused = append(refused, event)
	}
	n := 0
	for name, event := range warnings {
		if strings.Contains(event, "%d") {
			event = fmt.Sprintf(event, n)
		}
		if name != "no_timestamp" {
			event += `,"timestamp":"` + now + `"}`
		}
		warned = append(warned, event)
		n++
	}

	code, mapped, stderr := runCommand(t, strings.Join(slices.Concat(refused, warned), "\n"), "map", "--config", file)
	if code != exitOK {
		t.Fatalf("map: exit code %d %s", code, stderr)
	}
	s := startServer(t, startSandbox(t), nil, "--config", file)
	answer := ""
	// Two requests, since an answer has at most 20 results.
	for want, events := range map[string][]string{
		"6 skipped, 8 rejected":                  refused,
		fmt.Sprintf("%d delivered", len(warned)): warned,
	} {
		one := postRaw(t, s.url, testSecret, []byte("["+strings.Join(events, ",")+"]"))
		if !strings.Contains(one, want) {
			t.Errorf("answer %s", one)
		}
		answer += one
	}
	s.stderr.await(t, `(?s)"msg":"request".*"msg":"request"`) // after the lines of the events
	log := s.stderr.String()
	for _, names := range []map[string]string{reasons, warnings} {
		for name := range names {
			for where, text := range map[string]string{"map": mapped, "answer": answer, "log": log} {
				if !strings.Contains(text, `"`+name+`"`) {
					t.Errorf("%s does not show in %s", name, where)
				}
			}
		}
	}
}
