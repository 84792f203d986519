package main

import (
	"strings"
	"testing"
)

// TestReplayBulkOverridesTheSetting foresees the calls of a dry run: by the flag, or else by the setting.
func TestReplayBulkOverridesTheSetting(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		env  string
		args []string
		want string
	}{
		{"SAASQUATCH_BULK=1", nil, "\n1 requests\n"},
		{"SAASQUATCH_BULK=50", nil, "\n1 events to send, in calls of up to 50\n"},
		{"SAASQUATCH_BULK=50", []string{"--bulk", "100"}, "\n1 events to send, in calls of up to 100\n"},
		{"SAASQUATCH_BULK=50", []string{"--bulk", "1"}, "\n1 requests\n"},
		{"SAASQUATCH_BULK=50", []string{"--saasquatch-bulk", "7"}, "\n1 events to send, in calls of up to 7\n"},
		{"SAASQUATCH_BULK=50", []string{"--via", "import"}, "\n1 requests\n"},
	} {
		file := writeEvents(t, `{"type":"track","userId":"u-1","event":"Signed Up","messageId":"message-1"}`)
		args := append([]string{"replay", "--dry-run", "--any-age", "--progress", "none", file}, test.args...)
		p := start(t, append(replayEnv("http://127.0.0.1:1", t.TempDir()), test.env), args...)
		if code := p.wait(); code != exitOK || !strings.Contains(p.stdout.String(), test.want) {
			t.Errorf("%s %v: exit code %d, want %q:\n%s%s", test.env, test.args, code, test.want, &p.stdout, &p.stderr)
		}
	}
}

// TestReplayBulkOfResumedImport resumes a run of import jobs, whose way of sending only the store knows.
func TestReplayBulkOfResumedImport(t *testing.T) {
	t.Parallel()
	env := replayEnv(startSandbox(t), t.TempDir())
	file := writeEvents(t, `{"type":"track","userId":"u-1","event":"Signed Up","messageId":"message-1"}`)
	if code, report := runReplay(t, env, nil, "--any-age", "--via", "import", file); code != exitOK ||
		report.Run != 1 {
		t.Fatalf("exit code %d: %+v", code, report)
	}
	p := start(t, env, "replay", "--resume", "1", "--bulk", "100")
	if code := p.wait(); code != exitUsage ||
		!strings.Contains(p.stderr.String(), "--bulk and --via import exclude each other") {
		t.Errorf("exit code %d:\n%s", code, &p.stderr)
	}
}
