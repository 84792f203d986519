package mapping_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"segment-saasquatch/mapping"
)

// pageExpressions are the examples of docs/mapping.md. Each sets its text alone in the rules.
var pageExpressions = []struct {
	name, source string
	setting      func(*mapping.Rules) *string
}{
	{"from_track", `event = "Order Completed" ? "ALWAYS" : "MISSING_USER"`,
		func(r *mapping.Rules) *string { return &r.FromTrack }},
	{"from_track_body", `{"email": context.traits.email, "locale": context.locale}`,
		func(r *mapping.Rules) *string { return &r.FromTrackBody }},
	{"transform", `$merge([$, {"fields": $merge([fields, {"source": "segment"}])}])`,
		func(r *mapping.Rules) *string { return &r.Transform }},
}

// TestPageExpressions holds the examples that the benchmark measures to those of docs/mapping.md.
func TestPageExpressions(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "mapping.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range pageExpressions {
		if !strings.Contains(string(page), example.name+": '"+example.source+"'") {
			t.Errorf("docs/mapping.md has no %s: %s", example.name, example.source)
		}
	}
}

// BenchmarkExpression times the mapping of track calls of 1 KB with each example of docs/mapping.md. ×none is the
// ratio to a mapping without an expression. plan_upgraded has 8 properties; cart_viewed has 56 values, which a
// transform passes on. s/4000 is the time for the largest batch of Segment, on one processor or on all of them.
func BenchmarkExpression(b *testing.B) {
	for _, name := range []string{"plan_upgraded", "cart_viewed"} {
		event, err := os.ReadFile(filepath.Join("..", "testdata", "bench", name+".json"))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) { benchmarkExpressions(b, bytes.TrimSpace(event)) })
	}
}

func benchmarkExpressions(b *testing.B, event []byte) {
	none := 0.0
	run := func(name string, rules mapping.Rules) {
		mapper, err := mapping.New(rules)
		if err != nil {
			b.Fatal(err)
		}
		mapped := func() bool { return mapper.Map(event, benchNow).Kind == mapping.KindUserEvent }
		report := func(b *testing.B) (perEvent float64) {
			perEvent = float64(b.Elapsed()) / float64(b.N)
			b.ReportMetric(perEvent*4000/1e9, "s/4000")
			return perEvent
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !mapped() {
					b.Fatal("not mapped")
				}
			}
			perEvent := report(b)
			if name == "none" {
				none = perEvent
			} else if none > 0 {
				b.ReportMetric(perEvent/none, "×none")
			}
		})
		b.Run(name+"/all", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if !mapped() {
						b.Error("not mapped")
					}
				}
			})
			report(b)
		})
	}
	run("none", mapping.DefaultRules())
	for _, example := range pageExpressions {
		rules := mapping.DefaultRules()
		*example.setting(&rules) = example.source
		run(example.name, rules)
	}
}
