package jsonata_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"segment-saasquatch/mapping/jsonata"
)

// slow are expressions that take longer than [jsonata.Timeout] over manyItems.
var slow = []struct{ name, source string }{
	{"steps", `($f := function($n){$f($n)}; $f(1))`},
	{"quadratic", `$distinct(items.{"a": id, "b": [id, id]})`},
	{"quadratic filter", `$count(items[id = $max($$.items.id)])`},
	{"back reference", `$contains($pad("", 60, "a"), /(a+)+\1\1b$/)`},
	{"back references", `$map(items, function($i){$contains($pad("", 60, "a"), /(a+)+\1\1b$/)})`},
	{"shared text", `$string($reduce([1..60], function($made, $i){{"a": $made, "b": $made}}, {"x": 1}))`},
}

func manyItems() []byte {
	var event bytes.Buffer
	event.WriteString(`{"items":[`)
	for i := range 9000 {
		if i > 0 {
			event.WriteByte(',')
		}
		fmt.Fprintf(&event, `{"id":%d}`, i)
	}
	event.WriteString(`]}`)
	return event.Bytes()
}

// TestEnd ends evaluations that would take longer. The evaluation itself ends: no other goroutine continues it.
func TestEnd(t *testing.T) {
	event := manyItems()
	for _, c := range slow {
		t.Run(c.name, func(t *testing.T) {
			expression, err := jsonata.Compile(c.source)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			time.AfterFunc(20*time.Millisecond, func() { close(done) })
			start := time.Now()
			result, _, err := expression.Eval(event, casesNow, done)
			if !errors.Is(err, jsonata.ErrEnded) || result != nil {
				t.Errorf("got %.40s, %v", result, err)
			}
			if took := time.Since(start); took > 10*jsonata.Timeout { // generous: tests share their processors
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestEndedBefore evaluates nothing if done is already closed, and leaves the evaluators usable.
func TestEndedBefore(t *testing.T) {
	expression, err := jsonata.Compile(slow[0].source)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	close(done)
	for range 3 {
		if _, _, err := expression.Eval(nil, casesNow, done); !errors.Is(err, jsonata.ErrEnded) {
			t.Errorf("got %v", err)
		}
		if result, _, err := evalOnce(`1 + 1`, nil); string(result) != "2" || err != nil {
			t.Errorf("afterwards, 1 + 1 is %s, %v", result, err)
		}
	}
}

// TestEndLater closes done after an evaluation, which must not disturb the next one.
func TestEndLater(t *testing.T) {
	expression, err := jsonata.Compile(`a + 1`)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		done := make(chan struct{})
		result, _, err := expression.Eval([]byte(`{"a":1}`), casesNow, done)
		close(done)
		if string(result) != "2" || err != nil {
			t.Fatalf("got %s, %v", result, err)
		}
	}
}

// TestConditionIsBounded evaluates a condition whose value is exponential in its parts.
func TestConditionIsBounded(t *testing.T) {
	t.Parallel()
	expression, err := jsonata.Compile(`$reduce([1..60], function($made, $i){[[$made, $made]]}, [0])`)
	if err != nil {
		t.Fatal(err)
	}
	if holds, err := expression.EvalBool(nil); holds || !errors.Is(err, jsonata.ErrTimeout) {
		t.Errorf("got %v, %v", holds, err)
	}
}

// TestBacktracking matches regular expressions that need it. The expected values come from Node.js.
func TestBacktracking(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{`$match("abab-cdcd", /(..)\1/)`,
			`[{"match":"abab","index":0,"groups":["ab"]},{"match":"cdcd","index":5,"groups":["cd"]}]`},
		{`$match("abab-cdcd", /(..)\1/, 1)`, `{"match":"abab","index":0,"groups":["ab"]}`},
		{`$match("ab", /(x)?(a)(?=b)/).{"n": $count(groups), "m": match}`, `{"n":2,"m":"a"}`},
		{`$replace("aa-bb-cd", /(.)\1/, "<$1>")`, `"<a>-<b>-cd"`},
		{`$split("a1, b2,c", /,(?! )/)`, `["a1, b2","c"]`},
		{`$contains("abB", /(b)\1/i)`, `true`},
		{`$contains("abB", /(b)\1/)`, `false`},
		{`$contains("x\naa\ny", /^(a)\1$/m)`, `true`},
		{`$contains("x\naa\ny", /^(a)\1$/)`, `false`},
		{`$match("x😀😀y", /(😀)\1y/)`, `{"match":"😀😀y","index":1,"groups":["😀"]}`},
		{`$replace("é-éé", /(é)\1/, "2$1")`, `"é-2é"`},
		{`($r := /(a)\1/; $r("xaa").start)`, `1`},
		{`($r := /(a)\1/; $r("xaa").next())`, ``},
		{`$match("a1b2", /([a-z])\d/).groups`, `["a","b"]`}, // by backtracking after the first match
		{`$replace("ID/N", /ID|N/i, "x")`, `"x/x"`},
		{`$contains("a\/\/b", /(\/)\1/)`, `true`},
	} {
		result, _, err := evalOnce(c.source, nil)
		if string(result) != c.want || err != nil {
			t.Errorf("%s: got %s, %v; want %s", c.source, result, err, c.want)
		}
	}
}
