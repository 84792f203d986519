package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newTerminal returns a terminal with typed text.
func newTerminal(t *testing.T, text string) *os.File {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Close() })
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	if _, err := person.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return terminal
}

// TestAsking checks that a command changes nothing unless the operator agrees.
func TestAsking(t *testing.T) {
	const endOfInput = "\x04"
	for _, test := range []struct {
		typed  string
		args   []string
		agreed bool
		asked  string
	}{
		{"y\n", []string{"redrive"}, true, "4 of 11 deliveries would be sent"},
		{"YES\n", []string{"redrive", "--json"}, true, "4 of 11 deliveries would be sent"},
		{"n\n", []string{"redrive"}, false, "4 of 11 deliveries would be sent"},
		{"\n", []string{"redrive"}, false, "[y/N]"},
		{endOfInput, []string{"redrive"}, false, "[y/N]"},
		{"yesterday\n", []string{"redrive"}, false, "[y/N]"},
		{"y\n", []string{"redrive", "--to-tenant", "ops"}, true,
			"6 go from the tenant https://host/test_ops to https://host/ops"},
		{"n\n", []string{"redrive", "--to-tenant", "ops"}, false, "Events of a test tenant go to a live one"},
		{"n\n", []string{"redrive", "--to-tenant", "test_ops"}, false, "Events of a live tenant go to a test one"},
		{"y\n", []string{"purge", "--outcome", "pending"}, true, "would never be sent"},
		{"n\n", []string{"purge", "--outcome", "pending"}, false,
			"1 deliveries would be deleted: 1 pending; the pending ones would never be sent"},
	} {
		t.Run(fmt.Sprintf("%s %q", strings.Join(test.args, " "), test.typed), func(t *testing.T) {
			o := newFixedOperations()
			env, server := throughServer(t, o)
			lookup := func(name string) (string, bool) {
				value, ok := env[name]
				return value, ok
			}
			var stdout, stderr bytes.Buffer
			args := slices.Concat([]string{"deliveries"}, test.args, []string{server})
			code := run(t.Context(), args, lookup, newTerminal(t, test.typed), &stdout, &stderr)
			if !strings.Contains(stderr.String(), test.asked) {
				t.Errorf("asked %q", &stderr)
			}
			want, changed := exitFailed, []string(nil)
			if test.agreed {
				want, changed = exitOK, []string{test.args[0]}
			}
			if code != want || !slices.Equal(o.changed, changed) {
				t.Errorf("exit code %d, changed %v, want %d and %v\n%s", code, o.changed, want, changed, &stderr)
			}
			if !test.agreed && (stdout.Len() > 0 || !strings.Contains(stderr.String(), "nothing was changed")) {
				t.Errorf("said %q and %q", &stdout, &stderr)
			}
		})
	}
}
