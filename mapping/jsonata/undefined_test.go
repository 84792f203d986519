package jsonata_test

import (
	"strings"
	"testing"

	"segment-saasquatch/mapping/jsonata"
)

func TestUndefinedFunction(t *testing.T) {
	for source, want := range map[string]string{
		"$foo()": "foo", "[1].$foo(1)": "foo", "a ~> $foo()": "foo", "$foo(?, 1)": "foo", "true ? 1 : $foo()": "foo",
		`{"a": [1, $foo()]}`: "foo", `{"a": b[$foo()]}`: "foo", "a^($foo(b))": "foo", "$sum(a) + $sume(a)": "sume",
		"$map(a, function($x) {$foo($x)})": "foo", "$toUppercase(a)": "toUppercase", "$uuid()": "uuid",

		"$sum(a)": "", "$foo": "", "a ~> $foo": "", "foo()": "", "'$foo()'": "", "$eval('$foo()')": "",
		"($f := function($x) {$x}; $f(1))": "", "($f := $sum; $f(a))": "", "function($g) {$g(1)}": "",
		"($f := function($g) {$g(1)}; $f($sum))": "", "a@$x.$string($x)": "", "a#$i.$string($i)": "",
		"($fact := function($n) {$n < 2 ? 1 : $n * $fact($n - 1)}; $fact(5))": "",
		"λ($x) {$x}(1)": "", "function($x) {$x}(1)": "", "$now() & $millis()": "",
		"$replace(a, /b/, function($m) {$m.match})": "", "$sort(a, function($l, $r) {$l > $r})": "",
		"($twice := function($x) {2 * $x}; a.$twice())": "",
	} {
		expression, err := jsonata.Compile(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got := expression.UndefinedFunction(); got != want {
			t.Errorf("%s: %q, want %q", source, got, want)
		}
	}
	// Deep and long sources work too.
	deep, long := strings.Repeat("[", 300)+"$foo()"+strings.Repeat("]", 300), strings.Repeat("$foo() + ", 300)+"1"
	for _, source := range []string{deep, long} {
		expression, err := jsonata.Compile(source)
		if err != nil {
			t.Fatal(err)
		}
		if got := expression.UndefinedFunction(); got != "foo" {
			t.Errorf("%.20s…: %q", source, got)
		}
	}
}

// TestUndefinedFunctionFails checks that a reported call fails.
func TestUndefinedFunctionFails(t *testing.T) {
	for _, source := range []string{"$foo()", "1 ~> $foo()", "$map([1], function($x) {$foo($x)})"} {
		if _, _, err := evalOnce(source, nil); err == nil {
			t.Errorf("%s has a value", source)
		}
	}
}
