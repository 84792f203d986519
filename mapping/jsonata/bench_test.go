package jsonata_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	"segment-saasquatch/mapping/jsonata"
)

// typical holds usual expressions, by their setting.
var typical = []struct{ name, source string }{
	{"where", `event = "Order Completed"`},
	{"segments", `[context.traits.trait2, "hardcoded"]`},
	{"from_track", `event = "Order Completed" ? "ALWAYS" : "MISSING_USER"`},
	{"from_track_body", `{"id": userId, "accountId": userId, "locale": $replace(context.locale, "-", "_")}`},
	{"transform",
		`$merge([properties, {"total": properties.total * 100, "units": $sum(properties.products.quantity)}])`},
	{"identity", `$`},
}

// BenchmarkEval times expressions over an event of 2.2 KB. It compares them with decoding the event by encoding/json,
// and prints the ratio as eval/decode.
func BenchmarkEval(b *testing.B) {
	event := benchEvent(b)
	var decode float64
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var value any
			if err := json.Unmarshal(event, &value); err != nil {
				b.Fatal(err)
			}
		}
		decode = float64(b.Elapsed()) / float64(b.N)
	})
	for _, e := range typical {
		expression, err := jsonata.Compile(e.source)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(e.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := expression.Eval(event, casesNow, nil); err != nil {
					b.Fatal(err)
				}
			}
			if decode > 0 {
				b.ReportMetric(float64(b.Elapsed())/float64(b.N)/decode, "eval/decode")
			}
		})
	}
}

// BenchmarkParallel evaluates on all processors.
func BenchmarkParallel(b *testing.B) {
	event := benchEvent(b)
	expression, err := jsonata.Compile(typical[2].source)
	if err != nil {
		b.Fatal(err)
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, _, err := expression.Eval(event, casesNow, nil); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkCompile compiles an expression that no evaluator has seen.
func BenchmarkCompile(b *testing.B) {
	source := []byte(typical[4].source + "/*          */")
	serial := source[len(source)-12 : len(source)-2]
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for at, rest := 0, i; at < len(serial); at, rest = at+1, rest/10 {
			serial[at] = byte('0' + rest%10)
		}
		if _, err := jsonata.Compile(string(source)); err != nil {
			b.Fatal(err)
		}
	}
}

func benchEvent(b *testing.B) []byte {
	return bytes.TrimSpace(readFile(b, filepath.Join("..", "..", "testdata", "bench", "order_completed.json")))
}
