package jsonata_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"segment-saasquatch/mapping/jsonata"
)

// casesNow is the time of every case.
var casesNow = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// evalCase is one expression over the input of its folder. It wants a value (equal in every byte except white space),
// nothing, or the code of an error.
type evalCase struct {
	Expr      string          `json:"expr"`
	Want      json.RawMessage `json:"want"`
	Undefined bool            `json:"undefined"`
	Error     string          `json:"error"`
}

// TestCases evaluates testdata/jsonata/*/cases.json over the input beside it.
func TestCases(t *testing.T) {
	folders, err := filepath.Glob(filepath.Join("..", "..", "testdata", "jsonata", "*"))
	if err != nil || len(folders) < 8 {
		t.Fatalf("found %d folders of cases (%v)", len(folders), err)
	}
	for _, folder := range folders {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			input := readFile(t, filepath.Join(folder, "input.json"))
			before := bytes.Clone(input)
			var cases []evalCase
			if err := json.Unmarshal(readFile(t, filepath.Join(folder, "cases.json")), &cases); err != nil {
				t.Fatal(err)
			}
			for _, c := range cases {
				c.check(t, input)
			}
			if !bytes.Equal(input, before) {
				t.Error("the input has changed")
			}
		})
	}
}

func (c *evalCase) check(t *testing.T, input []byte) {
	t.Helper()
	expression, err := jsonata.Compile(c.Expr)
	var result []byte
	var defined bool
	if err == nil {
		result, defined, err = expression.Eval(input, casesNow, nil)
	}
	switch {
	case c.Error != "":
		if code(err) != c.Error {
			t.Errorf("%s: want error %s, got %s, %v", c.Expr, c.Error, result, err)
		}
		return
	case err != nil:
		t.Errorf("%s: %v", c.Expr, err)
		return
	case defined == c.Undefined:
		t.Errorf("%s: got %s, defined: %v", c.Expr, result, defined)
		return
	case defined && string(result) != compact(t, c.Want):
		t.Errorf("%s:\n got %s\nwant %s", c.Expr, result, compact(t, c.Want))
	}
	checkTruth(t, c.Expr, expression, input)
}

// checkTruth compares EvalBool with $boolean.
func checkTruth(t *testing.T, source string, expression *jsonata.Expression, input []byte) {
	t.Helper()
	got, err := expression.EvalBool(input)
	want, _, wantErr := evalOnce("$boolean(("+source+"))", input)
	if got != (string(want) == "true") || code(err) != code(wantErr) {
		t.Errorf("%s: holds: %v, %v; but $boolean says %s, %v", source, got, err, want, wantErr)
	}
}

func compact(t *testing.T, text []byte) string {
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
