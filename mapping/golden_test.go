package mapping_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"segment-saasquatch/mapping"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenNow is the time "now" of every golden case.
var goldenNow = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// TestGolden maps each line of testdata/mapping/*/input.json by the rules of rules.json, if there is one, and
// compares the results with the lines of want.json.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob(filepath.Join("..", "testdata", "mapping", "*", "input.json"))
	if err != nil || len(inputs) < 22 {
		t.Fatalf("found %d golden cases, want one for each rule at least (%v)", len(inputs), err)
	}
	for _, input := range inputs {
		folder := filepath.Dir(input)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			mapper, err := mapping.New(goldenRules(t, filepath.Join(folder, "rules.json")))
			if err != nil {
				t.Fatal(err)
			}
			events, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for event := range bytes.Lines(events) {
				event = bytes.TrimSuffix(event, []byte("\n"))
				result := mapper.Map(event, goldenNow)
				checkResult(t, event, &result)
				got = append(result.AppendJSON(got), '\n')
			}
			compareGolden(t, filepath.Join(folder, "want.json"), got)
		})
	}
}

func goldenRules(t *testing.T, path string) mapping.Rules {
	rules := mapping.DefaultRules()
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		t.Fatal(err)
	default:
		if err := json.Unmarshal(text, &rules); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	return rules
}

func compareGolden(t *testing.T, path string, got []byte) {
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	if len(gotLines) != len(wantLines) {
		t.Errorf("got %d lines, want %d", len(gotLines), len(wantLines))
	}
	for i := range min(len(gotLines), len(wantLines)) {
		if !bytes.Equal(gotLines[i], wantLines[i]) {
			t.Errorf("line %d:\n got %s\nwant %s", i+1, gotLines[i], wantLines[i])
		}
	}
}
