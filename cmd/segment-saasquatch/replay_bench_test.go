package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"

	"segment-saasquatch/adapter/archive/archivetest"
)

// BenchmarkReplayMemory runs dry runs of the built program over logs of different
// sizes and reports the most memory that it had. Its baseline is the program that
// does nothing but print its version.
func BenchmarkReplayMemory(b *testing.B) {
	peak := func(b *testing.B, args ...string) float64 {
		b.Helper()
		cmd := exec.Command(binary, args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		return float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024
	}
	for _, megabytes := range []int64{0, 50, 500} {
		b.Run(fmt.Sprintf("log=%dMB", megabytes), func(b *testing.B) {
			args := []string{"version"}
			if megabytes > 0 {
				args = []string{"replay", "--dry-run", "--any-age", "--identify", "none", "--progress", "none", writeLog(b, megabytes<<20)}
			}
			most := 0.0
			for b.Loop() {
				most = max(most, peak(b, args...))
			}
			b.ReportMetric(most, "MiB-peak")
		})
	}
}

func writeLog(b *testing.B, size int64) string {
	b.Helper()
	name := filepath.Join(b.TempDir(), "events.gz")
	file, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	packed := gzip.NewWriter(file)
	if _, _, err := archivetest.WriteLog(packed, size, 1); err != nil {
		b.Fatal(err)
	}
	if err := packed.Close(); err != nil {
		b.Fatal(err)
	}
	if err := file.Close(); err != nil {
		b.Fatal(err)
	}
	return name
}
