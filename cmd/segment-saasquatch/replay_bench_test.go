package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"

	"segment-saasquatch/adapter/archive/archivetest"
)

// BenchmarkReplayMemory runs dry runs of the built program over logs of different sizes, and reports the peak memory.
// Its baseline is the program that only prints its version.
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
				args = []string{"replay", "--dry-run", "--any-age", "--identify", "none", "--progress", "none",
					writeLog(b, megabytes<<20)}
			}
			most := 0.0
			for b.Loop() {
				most = max(most, peak(b, args...))
			}
			b.ReportMetric(most, "MiB-peak")
		})
	}
}

// BenchmarkReplayIdentify runs dry runs over logs of identify calls, three of each user. It reports the peak memory,
// and in bytes a user the memory beyond a run without identify calls. A dry run itself keeps 18 to 30 bytes for each
// event to send.
func BenchmarkReplayIdentify(b *testing.B) {
	for _, users := range []int{100_000, 1_000_000} {
		name := writeIdentifyLog(b, users, 3)
		for _, identify := range []string{"none", "newest", "merged"} {
			b.Run(fmt.Sprintf("users=%d/identify=%s", users, identify), func(b *testing.B) {
				most := 0.0
				for b.Loop() {
					cmd := exec.Command(binary, "replay", "--dry-run", "--identify", identify,
						"--progress", "none", name)
					cmd.Env = []string{"DATA_DIR=" + b.TempDir(), "SAASQUATCH_TENANT_ALIAS=" + sandboxTenant,
						"SAASQUATCH_API_KEY=" + sandboxKey}
					if out, err := cmd.CombinedOutput(); err != nil {
						b.Fatalf("%v\n%s", err, out)
					}
					most = max(most, float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024)
				}
				if identify == "none" {
					leastIdentify[users] = most
				}
				b.ReportMetric(most, "MiB-peak")
				b.ReportMetric((most-leastIdentify[users])*(1<<20)/float64(users), "B/user")
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(users), "µs/user")
			})
		}
	}
}

// leastIdentify is the memory of the runs without identify calls, by the number of users.
var leastIdentify = make(map[int]float64)

// writeIdentifyLog writes identify calls whose users' traits come in parts.
func writeIdentifyLog(b *testing.B, users, calls int) string {
	b.Helper()
	name := filepath.Join(b.TempDir(), "identify.ndjson")
	file, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	out := bufio.NewWriterSize(file, 1<<20)
	for call := range calls {
		for user := range users {
			fmt.Fprintf(out, `{"type":"identify","userId":"user-%08d","messageId":"ajs-%08d-%d",`+
				`"timestamp":"2026-10-%02dT%02d:00:00.000Z","context":{"library":{"name":"analytics.js",`+
				`"version":"2.11.1"},"locale":"en-US"},"traits":{"email":"user-%d@example.com","plan":"gold",`+
				`"trait%d":%d,"signedUp":true}}`+"\n",
				user, user, call, 1+(user+7*call)%28, user%24, user, call, user)
		}
	}
	if err := errors.Join(out.Flush(), file.Close()); err != nil {
		b.Fatal(err)
	}
	return name
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
