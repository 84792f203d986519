package replay

import (
	"hash/maphash"
	"runtime"
	"strconv"
	"testing"
)

// BenchmarkSeen adds ten million messageIds to a seenSet and to a Go map of the same hashes. It reports the time and
// the memory of a key.
func BenchmarkSeen(b *testing.B) {
	const keys = 10_000_000
	seeds := [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	for name, newSet := range map[string]func() (add func(messageID string) bool){
		"set": func() func(string) bool {
			set := newSeenSet()
			return func(messageID string) bool { return set.add(messageID, 0) }
		},
		"map": func() func(string) bool {
			set := make(map[[2]uint64]struct{})
			return func(messageID string) bool {
				before := len(set)
				set[[2]uint64{maphash.String(seeds[0], messageID), maphash.String(seeds[1], messageID)}] = struct{}{}
				return len(set) == before
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			var before, after runtime.MemStats
			for b.Loop() {
				runtime.GC()
				runtime.ReadMemStats(&before)
				add := newSet()
				for i := range keys {
					if add("message-" + strconv.Itoa(i)) {
						b.Fatal("a key that was never added")
					}
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				if !add("message-0") {
					b.Fatal("a key is lost")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/key")
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/keys, "B/key")
		})
	}
}
