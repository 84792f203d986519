package mapping_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/segmentio/analytics-go/v3"

	"segment-saasquatch/mapping"
)

var benchNow = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// BenchmarkMap compares mapping with two baselines. "scan" only checks validity by jsontext. "decode" decodes into
// analytics.Track and marshals that again. It prints the ratios map/scan and decode/map.
func BenchmarkMap(b *testing.B) {
	for _, name := range []string{"order_completed", "product_viewed"} {
		event, err := os.ReadFile(filepath.Join("..", "testdata", "bench", name+".json"))
		if err != nil {
			b.Fatal(err)
		}
		event = bytes.TrimSpace(event)
		b.Run(name, func(b *testing.B) { benchmarkEvent(b, event) })
	}
}

func benchmarkEvent(b *testing.B, event []byte) {
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		b.Fatal(err)
	}
	perOp := make(map[string]float64)
	run := func(name string, once func()) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(event)))
			b.ReportAllocs()
			for b.Loop() {
				once()
			}
			perOp[name] = float64(b.Elapsed()) / float64(b.N)
			if scan := perOp["scan"]; name == "map" && scan > 0 {
				b.ReportMetric(perOp[name]/scan, "map/scan")
			}
			if mapped := perOp["map"]; name == "decode" && mapped > 0 {
				b.ReportMetric(perOp[name]/mapped, "decode/map")
			}
		})
	}
	run("scan", func() {
		if !jsontext.Value(event).IsValid() {
			b.Fatal("invalid")
		}
	})
	run("map", func() {
		if mapper.Map(event, benchNow).Kind != mapping.KindUserEvent {
			b.Fatal("not mapped")
		}
	})
	run("decode", func() {
		var track analytics.Track
		if err := json.Unmarshal(event, &track); err != nil {
			b.Fatal(err)
		}
		if _, err := json.Marshal(track); err != nil {
			b.Fatal(err)
		}
	})
}
