//go:build !linux

package main

import "testing"

// BenchmarkSystem needs Linux, which tells the processor time of another process.
func BenchmarkSystem(b *testing.B) {
	b.Skip("SKIP: start the benchmark on Linux, which tells the processor time of another process")
}
