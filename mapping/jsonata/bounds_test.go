package jsonata_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/mapping/jsonata"
)

// TestBounds evaluates expressions that would take forever, or all memory. The evaluators must work afterwards.
func TestBounds(t *testing.T) {
	const doubling = `function($made, $i){`
	for _, c := range []struct {
		name, source string
		want         error // nil: the first error depends on the machine
	}{
		{"endless tail call", `($f := function($n){$f($n)}; $f(1))`, jsonata.ErrTooLong},
		{"endless recursion", `($f := function($n){1 + $f($n + 1)}; $f(1))`, jsonata.ErrTooDeep},
		{"deep recursion", `($f := function($n){$n = 0 ? 0 : 1 + $f($n - 1)}; $f(100000))`, jsonata.ErrTooDeep},
		{"long range", `[1..1e7]`, jsonata.ErrTooLarge},
		{"long map", `$map([1..1e5], function($x){$map([1..1e5], function($y){$x * $y})})`, nil},
		{"product", `$count([1..1e5].[1..1e5])`, nil},
		{"long padding", `$pad("", 1e9)`, jsonata.ErrTooLarge},
		{"doubled text", `$reduce([1..60], ` + doubling + `$made & $made}, "xx")`, jsonata.ErrTooLarge},
		{"doubled array", `$reduce([1..60], ` + doubling + `$append($made, $made)}, [1, 2])`, jsonata.ErrTooLarge},
		{"shared array", `$reduce([1..60], ` + doubling + `[[$made, $made]]}, ["x"])`, jsonata.ErrTooLarge},
		{"shared object", `$reduce([1..60], ` + doubling + `{"a": $made, "b": $made}}, {"x": 1})`,
			jsonata.ErrTooLarge},
		{"shared object as text", `$string($reduce([1..60], ` + doubling + `{"a": $made, "b": $made}}, {"x": 1}))`,
			nil},
		{"long separator", `$join($split($pad("", 50000), ""), $pad("", 50000))`, nil},
		{"long replacement", `$replace($pad("", 100000), " ", $pad("", 100000, "y"))`, nil},
		{"wide year", `$fromMillis(0, "[Y,1000000000]")`, jsonata.ErrTooLarge},
		{"backtracking", `$contains($pad("", 60, "a"), /(a+)+(?=b)$/)`, jsonata.ErrTimeout},
		{"backtracking replacement", `$replace("b" & $pad("", 60, "a"), /b|(a+)+$(?=b)/, "")`, jsonata.ErrTimeout},
		{"linear match", `$contains($pad("", 90000, "a"), /((a?){30}){10}b/)`, jsonata.ErrTooLong},
		{"hidden in $eval", `$eval("[1..1e7]")`, jsonata.ErrTooLarge},
		{"large result", `[[1..1e5], [1..1e5]]`, jsonata.ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			result, _, err := evalOnce(c.source, []byte(`{"a":{"b":{"c":[1,2,3,{"d":[[1,2],{"e":{}}]}]}}}`))
			took := time.Since(start)
			if took > 10*jsonata.Timeout { // generous: tests share their processors
				t.Errorf("took %v", took)
			}
			if err == nil {
				t.Errorf("got %.40s and no error", result)
			}
			// On a slow machine, or under the race detector, Timeout may come first.
			if c.want != nil && !errors.Is(err, c.want) && !errors.Is(err, jsonata.ErrTimeout) {
				t.Errorf("got %.40s, %v; want %v", result, err, c.want)
			}
			if len(result) > jsonata.MaxResult {
				t.Errorf("got %d bytes", len(result))
			}
			if result, _, err := evalOnce(`1 + 1`, nil); string(result) != "2" || err != nil {
				t.Errorf("afterwards, 1 + 1 is %s, %v", result, err)
			}
		})
	}
}

func TestCompileBounds(t *testing.T) {
	for name, source := range map[string]string{
		"too long":     strings.Repeat(" ", jsonata.MaxSource+1),
		"parentheses":  strings.Repeat("(", 60000),
		"brackets":     strings.Repeat("[", 60000),
		"minus":        strings.Repeat("-", 60000) + "1",
		"question":     strings.Repeat("a?", 30000),
		"empty":        "",
		"not UTF-8":    "\xff\xfe",
		"open comment": "/* a",
	} {
		_, err := jsonata.Compile(source)
		var wrong *jsonata.CompileError
		if !errors.As(err, &wrong) || wrong.Source != source || wrong.Message == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCompileErrorSaysWhere(t *testing.T) {
	_, err := jsonata.Compile(`traits.[trait2`)
	var wrong *jsonata.CompileError
	if !errors.As(err, &wrong) || wrong.Position != 14 || wrong.Code != "S0203" {
		t.Errorf("got %#v", err)
	}
	want := `compile expression: character 14: Expected "]" before end of expression (S0203)`
	if got := err.Error(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestInputThatIsNotJSON(t *testing.T) {
	for _, input := range []string{"{", `{"a"`, `{"a":}`, `[1,`, `"`, "nope", "1e", `{"a":{"b":"\x"}}`, " ",
		strings.Repeat("[", 20000)} {
		expression, err := jsonata.Compile("a.b.c & $string($)")
		if err != nil {
			t.Fatal(err)
		}
		result, defined, err := expression.Eval([]byte(input), casesNow, nil)
		if err == nil || defined || result != nil {
			t.Errorf("%.20q: got %s, %v, %v", input, result, defined, err)
		}
	}
}

// TestNothingRemains evaluates expressions that try to change the runtime.
func TestNothingRemains(t *testing.T) {
	for _, source := range []string{
		`{"__proto__": {"polluted": 1}}`,
		`{} ~> |$|{"__proto__": {"polluted": 1}}|`,
		`$merge([{"constructor": {"prototype": {"polluted": 1}}}])`,
		`($sum := 7; $string := 7; $x := 1)`,
	} {
		_, _, _ = evalOnce(source, []byte(`{}`))
	}
	for range 4 {
		result, defined, err := evalOnce(`[polluted, a.polluted, $x, $sum([1, 2])]`, []byte(`{"a":{}}`))
		if string(result) != "[3]" || !defined || err != nil {
			t.Errorf("got %s, %v", result, err)
		}
	}
}

// TestInputIsKeptOut changes the input's bytes after an evaluation.
func TestInputIsKeptOut(t *testing.T) {
	expression, err := jsonata.Compile("$")
	if err != nil {
		t.Fatal(err)
	}
	input := []byte(`{"a":["text",{"b":null}]}`)
	result, _, err := expression.Eval(input, casesNow, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := string(input)
	copy(input, bytes.Repeat([]byte("x"), len(input)))
	if string(result) != want {
		t.Errorf("got %s", result)
	}
}

// TestInputThatIsNotUTF8 checks that such bytes become U+FFFD, as in package mapping.
func TestInputThatIsNotUTF8(t *testing.T) {
	result, _, err := evalOnce(`$keys($) & a`, []byte("{\"\xc7\":1,\"a\":\"x\xff\"}"))
	if want := `"[\"` + "\ufffd" + `\",\"a\"]x` + "\ufffd" + `"`; string(result) != want || err != nil {
		t.Errorf("got %s, %v; want %s", result, err, want)
	}
}
