package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

const testdata = "../../testdata/config"

// pasted is the secret in every fixture that has a secret in a wrong place.
const pasted = "hunter2"

// TestBadConfig loads and validates each folder's config.yaml; want.txt contains the faults.
func TestBadConfig(t *testing.T) {
	cases, err := filepath.Glob(filepath.Join(testdata, "bad", "*", "config.yaml"))
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range cases {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			c, err := Load(Source{File: "config.yaml",
				ReadFile: func(string) ([]byte, error) { return os.ReadFile(path) }})
			if err == nil {
				err = c.Validate()
			} else if c != nil {
				t.Error("Load returned a Config beside an error")
			}
			if err == nil {
				t.Fatal("no fault")
			}
			eachFault(t, err)
			got := err.Error() + "\n"
			if strings.Contains(got, pasted) {
				t.Errorf("a secret shows in\n%s", got)
			}
			wantPath := filepath.Join(dir, "want.txt")
			if *update {
				if err := os.WriteFile(wantPath, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(wantPath)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// eachFault checks that the error is a join of faults that fit on one line each.
func eachFault(t *testing.T, err error) {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T is not a join", err)
	}
	for _, err := range joined.Unwrap() {
		fault, ok := errors.AsType[*Fault](err)
		if !ok {
			t.Errorf("%T is not a *Fault: %v", err, err)
			continue
		}
		if fault.Problem == "" || strings.ContainsAny(fault.Error(), "\n\r") {
			t.Errorf("bad fault %q", fault.Error())
		}
	}
}
