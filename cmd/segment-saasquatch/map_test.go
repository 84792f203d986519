package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runCommand runs a command in this process.
func runCommand(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runCommandIn(t, nil, stdin, args...)
}

// runCommandIn runs a command in an environment.
func runCommandIn(
	t *testing.T, env map[string]string, stdin string, args ...string,
) (code int, stdout, stderr string) {
	t.Helper()
	lookup := func(name string) (string, bool) {
		text, ok := env[name]
		return text, ok
	}
	var out, errOut bytes.Buffer
	code = run(t.Context(), args, lookup, strings.NewReader(stdin), &out, &errOut)
	return code, out.String(), errOut.String()
}

// TestMapGolden runs the command on every golden case that needs no rules of its own.
func TestMapGolden(t *testing.T) {
	inputs, err := filepath.Glob(filepath.Join("..", "..", "testdata", "mapping", "*", "input.json"))
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no golden cases (%v)", err)
	}
	for _, input := range inputs {
		folder := filepath.Dir(input)
		if _, err := os.Stat(filepath.Join(folder, "rules.json")); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		want, err := os.ReadFile(filepath.Join(folder, "want.json"))
		if err != nil {
			t.Fatal(err)
		}
		code, got, stderr := runCommand(t, "", "map", "--now", "2026-11-01T00:00:00Z", input)
		if code != exitOK || got != string(want) {
			t.Errorf("%s: exit code %d, %s\n got %s\nwant %s", folder, code, stderr, got, want)
		}
	}
}

func TestMapLines(t *testing.T) {
	const skip = `{"result":"skip","reason":"unsupported_type","detail":"type \"page\" is neither track nor ` +
		`identify"}` + "\n"
	const tooLong = `{"result":"reject","reason":"invalid_json","detail":"the line is longer than 10 MiB"}` + "\n"
	page := func(length int) string {
		event := `{"type":"page","pad":""}`
		return strings.Replace(event, `""`, `"`+strings.Repeat("x", length-len(event))+`"`, 1)
	}
	for name, test := range map[string]struct{ in, want string }{
		"nothing":         {"", ""},
		"blank lines":     {"\n \t \n\r\n", ""},
		"no end of line":  {page(30), skip},
		"CRLF":            {page(30) + "\r\n\r\n" + page(30) + "\r\n", skip + skip},
		"as long as can":  {page(maxLine) + "\n" + page(30), skip + skip},
		"too long":        {page(maxLine+1) + "\n" + page(30), tooLong + skip},
		"too long at end": {page(30) + "\n" + page(maxLine+100), skip + tooLong},
	} {
		t.Run(name, func(t *testing.T) {
			code, got, stderr := runCommand(t, test.in, "map")
			if code != exitOK || got != test.want {
				t.Errorf("exit code %d, %s\n got %.200q\nwant %.200q", code, stderr, got, test.want)
			}
		})
	}
}

func TestMapWithConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("events:\n  keys: {Signed Up: joined}\nany_age: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, got, stderr := runCommand(t, `{"type":"track","userId":"u","event":"Signed `+
		`Up","messageId":"12345678","timestamp":"2001-01-01"}`, "map", "--config", file, "-")
	want := `{"result":"event","requests":[{"userId":"u","accountId":"u","idempotencyKey":"12345678",` +
		`"events":[{"key":"joined","dateTriggered":978307200000}]}],"warnings":[]}` + "\n"
	if code != exitOK || got != want {
		t.Errorf("exit code %d, %s\n got %s\nwant %s", code, stderr, got, want)
	}
}

func TestMapErrors(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("evnets: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		code int
		text string
	}{
		"no such file":    {[]string{"map", "absent.json"}, exitFailed, "absent.json"},
		"wrong time":      {[]string{"map", "--now", "tomorrow"}, exitUsage, "--now"},
		"unknown flag":    {[]string{"map", "--nwo", "x"}, exitUsage, "--nwo"},
		"wrong config":    {[]string{"map", "--config", bad}, exitUsage, "did you mean events"},
		"no config":       {[]string{"map", "--config", "absent.yaml"}, exitUsage, "absent.yaml"},
		"no connection":   {[]string{"map", "--connection", "live"}, exitUsage, "live"},
		"unknown command": {[]string{"mpa"}, exitUsage, "mpa"},
	} {
		if code, _, stderr := runCommand(t, "", test.args...); code != test.code ||
			!strings.Contains(stderr, test.text) {
			t.Errorf("%s: exit code %d, want %d; %s", name, code, test.code, stderr)
		}
	}
}
