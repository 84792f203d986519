package jsonata_test

import (
	"fmt"
	"sync"
	"testing"

	"segment-saasquatch/mapping/jsonata"
)

// TestConcurrent shares expressions among more goroutines than there are evaluators, for the race detector.
func TestConcurrent(t *testing.T) {
	var expressions []*jsonata.Expression
	for _, source := range []string{
		`id & "/" & $string(traits.n * 2)`,
		`($f := function($n){$n = 0 ? 0 : 1 + $f($n - 1)}; $string(id) & "/" & $string($f(5) * 0 + traits.n * 2))`,
		`$replace("ID/N", /ID|N/, function($m){$m.match = "ID" ? $string(id) : $string(traits.n * 2)})`,
	} {
		expression, err := jsonata.Compile(source)
		if err != nil {
			t.Fatal(err)
		}
		expressions = append(expressions, expression)
	}
	slow, err := jsonata.Compile(`($f := function($n){$f($n)}; $f(1))`)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for worker := range 16 {
		group.Go(func() {
			if worker == 0 { // one evaluator is interrupted meanwhile
				if _, _, err := slow.Eval(nil, casesNow, nil); err == nil {
					t.Error("an endless evaluation ended")
				}
				return
			}
			for i := range 10 {
				input := fmt.Appendf(nil, `{"id":"%d-%d","traits":{"n":%d}}`, worker, i, i)
				want := fmt.Sprintf(`"%d-%d/%d"`, worker, i, 2*i)
				for _, expression := range expressions {
					got, _, err := expression.Eval(input, casesNow, nil)
					if err != nil || string(got) != want {
						t.Errorf("%s: got %s, %v; want %s", expression, got, err, want)
					}
				}
			}
		})
	}
	group.Wait()
}

// TestManyExpressions compiles more expressions than an evaluator keeps.
func TestManyExpressions(t *testing.T) {
	var expressions []*jsonata.Expression
	for i := range 300 {
		expression, err := jsonata.Compile(fmt.Sprintf("n + %d", i))
		if err != nil {
			t.Fatal(err)
		}
		expressions = append(expressions, expression)
	}
	for i, expression := range expressions {
		got, _, err := expression.Eval([]byte(`{"n":1}`), casesNow, nil)
		if err != nil || string(got) != fmt.Sprint(i+1) {
			t.Errorf("%s: got %s, %v", expression, got, err)
		}
	}
}
