package jsonata

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dop251/goja"
)

// TestReferenceIsUnmodified compares the vendored file with the published one.
func TestReferenceIsUnmodified(t *testing.T) {
	sum := sha256.Sum256([]byte(referenceSource))
	if got := hex.EncodeToString(sum[:]); got != "9c2a35f4d895797f123f65c7f9a4ce16b3a295d209e0f3f225a0c3bae1bd9049" {
		t.Errorf("jsonata.js has the sum %s", got)
	}
}

func TestNothingIsAsynchronous(t *testing.T) {
	comments := regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*`)
	code := comments.ReplaceAllString(synchronous(referenceSource), "")
	asynchronous := regexp.MustCompile(`.*\b(async\s+(function|\()|await\b|Promise\b).*`)
	if found := asynchronous.FindAllString(code, -1); len(found) > 0 {
		t.Errorf("left in the code: %q", found)
	}
}

// TestUnmodifiedReference evaluates the cases by the unmodified reference: asynchronous, over JSON.parse, without
// bounds. The results must be equal.
func TestUnmodifiedReference(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	evaluate := unmodified(t, now)
	inputs, err := filepath.Glob(filepath.Join("..", "..", "testdata", "jsonata", "*", "input.json"))
	if err != nil || len(inputs) == 0 {
		t.Fatalf("found no cases (%v)", err)
	}
	for _, file := range inputs {
		input, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		input = bytes.ReplaceAll(input, []byte("1e400"), []byte("1e300")) // goja's JSON.parse refuses it
		text, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cases.json"))
		if err != nil {
			t.Fatal(err)
		}
		var cases []struct{ Expr string }
		if err := json.Unmarshal(text, &cases); err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			expression, err := Compile(c.Expr)
			if err != nil || deviates(c.Expr) {
				continue
			}
			got, _, err := expression.Eval(input, now, nil)
			if want, fails := evaluate(c.Expr, input); fails != (err != nil) || !bytes.Equal(got, want) {
				t.Errorf("%s:\n      got %s, %v\nreference %s, fails: %v", c.Expr, got, err, want, fails)
			}
		}
	}
}

// deviates reports the cases that show a difference in the package comment, or need functions of a browser.
func deviates(source string) bool {
	switch source {
	case "$toMillis(local)", "$sum", "[$sum]", `{"f": function($x){$x}, "v": 1}`:
		return true
	}
	return strings.Contains(source, "$base64")
}

func unmodified(t *testing.T, now time.Time) func(source string, input []byte) (result []byte, fails bool) {
	vm := goja.New()
	vm.SetTimeSource(func() time.Time { return now })
	if _, err := vm.RunScript("jsonata.js", referenceSource); err != nil {
		t.Fatal(err)
	}
	value, err := vm.RunString(`(function (source, input) {
		var outcome = {};
		jsonata(source).evaluate(JSON.parse(input)).then(
			function (value) { outcome.result = JSON.stringify(value); },
			function () { outcome.fails = true; });
		return outcome;
	})`)
	if err != nil {
		t.Fatal(err)
	}
	run, _ := goja.AssertFunction(value)
	return func(source string, input []byte) ([]byte, bool) {
		value, err := run(goja.Undefined(), vm.ToValue(source), vm.ToValue(string(input)))
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		outcome := value.(*goja.Object)
		result := outcome.Get("result")
		if result == nil || goja.IsUndefined(result) {
			return nil, outcome.Get("fails") != nil
		}
		return []byte(result.String()), false
	}
}
