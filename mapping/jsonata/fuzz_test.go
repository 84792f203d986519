package jsonata_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"

	"segment-saasquatch/mapping/jsonata"
)

// FuzzEval checks that nothing panics, that results are JSON within their limit, and that errors have the promised
// types.
func FuzzEval(f *testing.F) {
	addCases(f)
	f.Fuzz(func(t *testing.T, source string, input []byte) {
		expression, err := jsonata.Compile(source)
		if err != nil {
			var wrong *jsonata.CompileError
			if !errors.As(err, &wrong) || wrong.Message == "" || wrong.Position < 0 {
				t.Fatalf("compile %q: %v", source, err)
			}
			return
		}
		_ = expression.UndefinedFunction()
		result, defined, err := expression.Eval(input, casesNow, nil)
		if err != nil {
			if defined || result != nil {
				t.Fatalf("%q yields %q and the error %v", source, result, err)
			}
			checkEvalError(t, source, err)
			return
		}
		if defined != (result != nil) || defined && !json.Valid(result) || len(result) > jsonata.MaxResult {
			t.Fatalf("%q over %q yields %.200q, defined: %v", source, input, result, defined)
		}
		if _, err := expression.EvalBool(input); err != nil {
			checkEvalError(t, source, err)
		}
	})
}

// FuzzInput checks that the input comes out as the same JSON.
func FuzzInput(f *testing.F) {
	addCases(f)
	expression, err := jsonata.Compile("$$")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, _ string, input []byte) {
		var want any
		if json.Unmarshal(input, &want) != nil || len(input) > 4096 {
			t.Skip()
		}
		result, _, err := expression.Eval(input, casesNow, nil)
		if err != nil {
			t.Fatalf("%q: %v", input, err)
		}
		if !sameJSON(t, result, input, false) {
			t.Fatalf("%q became %q", input, result)
		}
	})
}

func checkEvalError(t *testing.T, source string, err error) {
	var failed *jsonata.EvalError
	if !errors.Is(err, jsonata.ErrTimeout) && !errors.Is(err, jsonata.ErrTooLong) &&
		!errors.Is(err, jsonata.ErrTooLarge) && !errors.Is(err, jsonata.ErrTooDeep) &&
		(!errors.As(err, &failed) || failed.Message == "") {
		t.Fatalf("%q: error %v", source, err)
	}
}

func addCases(f *testing.F) {
	folders, err := filepath.Glob(filepath.Join("..", "..", "testdata", "jsonata", "*"))
	if err != nil {
		f.Fatal(err)
	}
	for _, folder := range folders {
		input := readFile(f, filepath.Join(folder, "input.json"))
		var cases []evalCase
		if err := json.Unmarshal(readFile(f, filepath.Join(folder, "cases.json")), &cases); err != nil {
			f.Fatal(err)
		}
		for _, c := range cases {
			f.Add(c.Expr, input)
		}
	}
}
