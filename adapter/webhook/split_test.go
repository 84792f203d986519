package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	tests := map[string]struct {
		body  string
		want  []string
		array bool
	}{
		"object":            {`{"a":1}`, []string{`{"a":1}`}, false},
		"object with space": {" \n{\"a\" : 1} \r\n", []string{`{"a" : 1}`}, false},
		"empty array":       {` [ ] `, nil, true},
		"one":               {`[{"a":1}]`, []string{`{"a":1}`}, true},
		"several": {`[ {"a":[1,{"b":"]"}]} , {"c":"\"},{"} ,{}]`, []string{`{"a":[1,{"b":"]"}]}`,
			`{"c":"\"},{"}`, `{}`}, true},
		"null":                {`[null]`, []string{`null`}, true},
		"scalars":             {`[1, "x,]" ,true]`, []string{`1`, `"x,]"`, `true`}, true},
		"broken inside":       {`[{"a" 1}, {"b":2}]`, []string{`{"a" 1}`, `{"b":2}`}, true},
		"mismatched brackets": {`[{"a":1], {"b":2}]`, []string{`{"a":1]`, `{"b":2}`}, true},
		"backslashes":         {`[{"a":"\\"},{"b":"\\\""}]`, []string{`{"a":"\\"}`, `{"b":"\\\""}`}, true},
		"extensible":          {`[{"json":{"a":1}}, { "json" : {"b":2} } ]`, []string{`{"a":1}`, `{"b":2}`}, true},
		"not extensible": {`[{"json":1},{"json":{},"x":1},{"jsonx":{}},{"x":{}}]`, []string{`{"json":1}`,
			`{"json":{},"x":1}`, `{"jsonx":{}}`, `{"x":{}}`}, true},
		"extensible, broken": {`[{"json":{"a":1}],{}]`, []string{`{"json":{"a":1}]`, `{}`}, true},
		"no unwrapping":      {`{"json":{"a":1}}`, []string{`{"json":{"a":1}}`}, false},
		"byte order mark":    {"\ufeff[{}]", []string{`{}`}, true},
		"deep": {"[" + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "]",
			[]string{strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := split([]byte(test.body), DefaultMaxEvents)
			if err != nil {
				t.Fatal(err)
			}
			if got.array != test.array || len(got.elements) != len(test.want) {
				t.Fatalf("got array=%t %q", got.array, got.elements)
			}
			for i := range test.want {
				if string(got.elements[i]) != test.want[i] {
					t.Errorf("element %d: got %q, want %q", i, got.elements[i], test.want[i])
				}
			}
		})
	}
}

func TestSplitRefuses(t *testing.T) {
	for _, body := range []string{
		"", "  ", "null", "1", `"x"`, "true", "garbage", "{", `{"a":"`, `{"a":"\`, "[", "[{}", "[{},", "[,]", "[{},]",
		"[,{}]", "[{},,{}]", "{} {}", "{}x", "[] []", "[{}] x", "]", "}", "\ufeff",
	} {
		_, err := split([]byte(body), DefaultMaxEvents)
		var refused *requestError
		if !errors.As(err, &refused) || refused.status != http.StatusBadRequest || refused.message == "" {
			t.Errorf("%q: got %v, want 400", body, err)
		}
	}
}

// FuzzSplit checks that splitting never panics, yields parts of the body only,
// and agrees with encoding/json on valid arrays.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{`[{"a":1},{"b":[1,2]}]`, `{"a":"\\\""}`, `[{"json":{}}]`, `[null, 1 ,"x"]`, "[{]}",
		`["\`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := split(body, DefaultMaxEvents)
		var want []json.RawMessage
		if json.Unmarshal(body, &want) == nil && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")) {
			if err != nil || len(got.elements) != len(want) {
				t.Fatalf("%q: got %q (%v), want %q", body, got.elements, err, want)
			}
			for i := range want {
				if !bytes.Equal(got.elements[i], want[i]) && !bytes.Equal(got.elements[i], unwrap(want[i])) {
					t.Fatalf("%q: element %d is %q, want %q", body, i, got.elements[i], want[i])
				}
			}
		}
		if err != nil {
			return
		}
		for _, element := range got.elements {
			if len(element) == 0 || !bytes.Contains(body, element) {
				t.Fatalf("%q: element %q is not of the body", body, element)
			}
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	event, err := os.ReadFile(filepath.Join("..", "..", "testdata", "bench", "order_completed.json"))
	if err != nil {
		b.Fatal(err)
	}
	event = bytes.TrimSpace(event)
	body := append(append([]byte("["), bytes.Repeat(append(event, ','), 999)...), append(event, ']')...)
	perOp := make(map[string]float64)
	run := func(name string, once func() int) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if n := once(); n != 1000 {
					b.Fatalf("%d elements", n)
				}
			}
			perOp[name] = float64(b.Elapsed()) / float64(b.N)
			if split := perOp["split"]; name == "unmarshal" && split > 0 {
				b.ReportMetric(perOp[name]/split, "unmarshal/split")
			}
		})
	}
	run("split", func() int {
		got, err := split(body, DefaultMaxEvents)
		if err != nil {
			b.Fatal(err)
		}
		return len(got.elements)
	})
	run("unmarshal", func() int {
		var got []json.RawMessage
		if err := json.Unmarshal(body, &got); err != nil {
			b.Fatal(err)
		}
		return len(got)
	})
}
