package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// manyDead has operations on a number of dead deliveries, with ids from 1 on.
type manyDead struct {
	adapter.Operations
	dead int64
	// redriven has the sizes of the pages.
	redriven []int
	// meanwhile is called during the third page.
	meanwhile func() error
	// forgetful is a server that does not return where the next page begins.
	forgetful bool
}

func (o *manyDead) Scans(context.Context, adapter.Filter) (adapter.Scan, error) {
	return adapter.Scan{}, nil
}

func (o *manyDead) Redrive(
	ctx context.Context, filter adapter.Filter, limit int, _ string, dry bool,
) (*adapter.Redrive, error) {
	last := o.dead
	if filter.Before > 0 {
		last = filter.Before - 1
	}
	matched := last
	if limit > 0 {
		matched = min(matched, int64(limit))
	}
	done := &adapter.Redrive{Matched: int(matched), Sent: int(matched), Before: last - matched + 1}
	if matched == 0 || o.forgetful {
		done.Before = 0
	}
	if dry {
		return done, nil
	}
	if o.redriven = append(o.redriven, int(matched)); len(o.redriven) == 3 && o.meanwhile != nil {
		if err := o.meanwhile(); err != nil {
			return done, err
		}
	}
	return done, ctx.Err()
}

// TestRedriveCommandInParts redrives page by page through a server, up to a limit, until an interruption, or until
// the server fails.
func TestRedriveCommandInParts(t *testing.T) {
	for _, test := range []struct {
		name      string
		args      []string
		o         manyDead
		interrupt bool
		code      int
		parts     []int
		stdout    string
		stderr    []string
	}{
		{name: "all", o: manyDead{dead: 5000}, parts: []int{2000, 2000, 1000},
			stdout: "5000 of 5000 deliveries are pending now\n"},
		{name: "whole pages", o: manyDead{dead: 4000}, parts: []int{2000, 2000, 0},
			stdout: "4000 of 4000 deliveries are pending now\n"},
		{name: "none", o: manyDead{}, parts: []int{0}, stdout: "0 of 0 deliveries are pending now\n"},
		{name: "limit", args: []string{"--limit", "2500"}, o: manyDead{dead: 9999}, parts: []int{2000, 500},
			stdout: "2500 of 2500 deliveries are pending now\n"},
		{
			name: "interrupted", o: manyDead{dead: 9999}, interrupt: true, code: exitInterrupted,
			parts:  []int{2000, 2000, 2000},
			stdout: "6000 of 6000 deliveries are pending now\n",
			stderr: []string{"interrupted", "the same command goes on"},
		},
		{
			name: "interrupted, as JSON", args: []string{"--json"}, o: manyDead{dead: 9999}, interrupt: true,
			code: exitInterrupted, parts: []int{2000, 2000, 2000},
			stdout: `{"matched":6000,"sent":6000,"duplicate":0,"no_payload":0,"no_connection":0,"held":0,` +
				`"fires_programs":0}` + "\n", stderr: []string{"interrupted"},
		},
		{
			name: "failed", o: manyDead{dead: 9999,
				meanwhile: func() error { return errors.New("the disk is gone") }}, code: exitFailed,
			parts:  []int{2000, 2000, 2000},
			stdout: "4000 of 4000 deliveries are pending now\n",
			stderr: []string{"after at least 4000 deliveries were redriven", "log has the details"},
		},
		{
			name: "an earlier server", o: manyDead{dead: 9999, forgetful: true}, code: exitFailed, parts: []int{2000},
			stdout: "2000 of 2000 deliveries are pending now\n", stderr: []string{"earlier version", "update it"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			o := test.o
			if test.interrupt {
				o.meanwhile = func() error { interrupt(); return nil }
			}
			env, server := throughServer(t, &o)
			lookup := func(name string) (string, bool) {
				value, ok := env[name]
				return value, ok
			}
			var stdout, stderr bytes.Buffer
			args := append([]string{"deliveries", "redrive", "--yes", server}, test.args...)
			code := run(ctx, args, lookup, strings.NewReader(""), &stdout, &stderr)
			if code != test.code || stdout.String() != test.stdout || !slices.Equal(o.redriven, test.parts) {
				t.Errorf("exit code %d, redriven %v, want %d and %v\n%s%s", code, o.redriven, test.code,
					test.parts, &stdout, &stderr)
			}
			for _, want := range test.stderr {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("no %q in %s", want, &stderr)
				}
			}
		})
	}
}

// TestRedriveProgress checks the progress of a redrive as JSON and beside a bar.
func TestRedriveProgress(t *testing.T) {
	for _, dry := range []bool{true, false} {
		w := &watchedRedrive{dry: dry, total: 40}
		w.set(&adapter.Redrive{Matched: 10, Sent: 7, Duplicate: 1, Unsendable: map[mapping.Reason]int{"a": 1, "b": 1}})
		at := w.progress()
		text, err := json.Marshal(at.line)
		if err != nil || !strings.Contains(string(text),
			`"matched":10,"matched_total":40,"sent":7,"duplicate":1,"unsendable":2,`) {
			t.Errorf("got %s, %v", text, err)
		}
		want := map[bool]string{true: "7 to send", false: "7 pending now  1 duplicate"}[dry]
		if got := fmt.Sprintf("%s %s %d/%d", at.before, at.behind, at.done, at.total); !strings.HasPrefix(got,
			"10/40 deliveries ") || !strings.HasSuffix(got, want+" 10/40") {
			t.Errorf("got %q", got)
		}
	}
}
