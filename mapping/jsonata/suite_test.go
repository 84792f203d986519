package jsonata_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"

	"segment-saasquatch/mapping/jsonata"
)

// suiteCase is a case of JSONata's language-neutral test suite, described in its TESTSUITE.md.
type suiteCase struct {
	Expr      *string                    `json:"expr"`
	ExprFile  string                     `json:"expr-file"`
	Data      json.RawMessage            `json:"data"`
	Dataset   *string                    `json:"dataset"`
	Bindings  map[string]json.RawMessage `json:"bindings"`
	Result    json.RawMessage            `json:"result"`
	Undefined bool                       `json:"undefinedResult"`
	Unordered bool                       `json:"unordered"`
	Code      string                     `json:"code"`
	Error     *struct {
		Code string `json:"code"`
	} `json:"error"`
}

// Of the suite of version 2.2.2, 1398 cases want a value and 288 an error. Six values take more steps or larger
// arrays than the bounds allow. Two errors concern half a surrogate pair, and one comes at a smaller depth.
const (
	suiteValues = 1392
	suiteErrors = 285
)

func TestSuite(t *testing.T) {
	folder := os.Getenv("JSONATA_SUITE")
	if folder == "" {
		t.Skip("SKIP: the public test suite is not here; set JSONATA_SUITE=<test-suite folder>")
	}
	files, err := filepath.Glob(filepath.Join(folder, "groups", "*", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("found no cases in %s (%v)", folder, err)
	}
	var values, valuesRight, failures, failuresRight int
	for _, file := range files {
		for i, c := range readCases(t, file) {
			wantsError := c.Code != "" || c.Error != nil
			err := c.check(t, folder, file)
			if err != nil {
				t.Logf("%s %d: %v", strings.TrimPrefix(file, folder), i, err)
			}
			switch {
			case wantsError:
				failures++
				failuresRight += right(err)
			default:
				values++
				valuesRight += right(err)
			}
		}
	}
	t.Logf("right: %d of %d values, %d of %d errors", valuesRight, values, failuresRight, failures)
	if valuesRight < suiteValues || failuresRight < suiteErrors {
		t.Errorf("want at least %d values and %d errors", suiteValues, suiteErrors)
	}
}

func right(err error) int {
	if err != nil {
		return 0
	}
	return 1
}

func readCases(t *testing.T, file string) (cases []suiteCase) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text = []byte(strings.TrimSpace(string(text))); text[0] != '[' {
		text = []byte("[" + string(text) + "]")
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return cases
}

// check returns the difference between the case and its outcome; nil if there is none.
func (c *suiteCase) check(t *testing.T, folder, file string) error {
	input := []byte(c.Data)
	if input == nil && c.Dataset != nil {
		input = readFile(t, filepath.Join(folder, "datasets", *c.Dataset+".json"))
	}
	result, defined, err := evalOnce(c.source(t, file), input)
	want := c.Code
	if c.Error != nil {
		want = c.Error.Code
	}
	if got := code(err); want != "" || c.Error != nil {
		if err == nil || got != want {
			return fmt.Errorf("want error %s, got %.80s, error %s", want, result, fmt.Sprint(err))
		}
		return nil
	}
	switch {
	case err != nil:
		return err
	case defined == c.Undefined:
		return fmt.Errorf("want %.80s, got %.80s, defined: %v", c.Result, result, defined)
	case defined && !sameJSON(t, result, c.Result, c.Unordered):
		return fmt.Errorf("want %.80s, got %.80s", c.Result, result)
	}
	return nil
}

// source binds the case's variables by assignments.
func (c *suiteCase) source(t *testing.T, file string) string {
	source := ""
	if c.Expr != nil {
		source = *c.Expr
	} else {
		source = string(readFile(t, filepath.Join(filepath.Dir(file), c.ExprFile)))
	}
	if len(c.Bindings) == 0 {
		return source
	}
	var assignments strings.Builder
	for name, value := range c.Bindings {
		fmt.Fprintf(&assignments, "$%s := %s; ", name, value)
	}
	return "(" + assignments.String() + source + ")"
}

func readFile(t testing.TB, file string) []byte {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func evalOnce(source string, input []byte) (result []byte, defined bool, err error) {
	expression, err := jsonata.Compile(source)
	if err != nil {
		return nil, false, err
	}
	return expression.Eval(input, casesNow, nil)
}

// code returns the suite's code for an error. The suite has one code for too much time and too much depth.
func code(err error) string {
	var compile *jsonata.CompileError
	var eval *jsonata.EvalError
	switch {
	case errors.Is(err, jsonata.ErrTimeout), errors.Is(err, jsonata.ErrTooLong), errors.Is(err, jsonata.ErrTooDeep):
		return "U1001"
	case errors.Is(err, jsonata.ErrTooLarge):
		return "D2014"
	case errors.As(err, &compile):
		return compile.Code
	case errors.As(err, &eval):
		return eval.Code
	}
	return ""
}

func sameJSON(t *testing.T, got, want []byte, unordered bool) bool {
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("result %.80s: %v", got, err)
	}
	if err := json.Unmarshal(want, &b); err != nil {
		t.Fatal(err)
	}
	if unordered {
		sortElements(a)
		sortElements(b)
	}
	return same(a, b)
}

func sortElements(value any) {
	if list, ok := value.([]any); ok {
		sort.Slice(list, func(i, j int) bool { return fmt.Sprint(list[i]) < fmt.Sprint(list[j]) })
	}
}

// same tolerates the last digit of a number, which differs between machines.
func same(a, b any) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && math.Abs(a-b) <= 1e-13*math.Abs(b)
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !same(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name := range a {
			if other, ok := b[name]; !ok || !same(a[name], other) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}
