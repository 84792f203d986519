package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// clockTicks is the number of ticks a second in /proc, on every architecture of Go.
const clockTicks = 100

// BenchmarkCapacity sends 20 000 events to the built program, in batches of 1000 and of 10. It reports the processor
// time for each event, from the request to the delivery, and the peak memory. The time of a PostgreSQL server is not
// included.
func BenchmarkCapacity(b *testing.B) {
	const events = 20_000
	for _, engine := range []string{"sqlite", "postgres"} {
		for _, batch := range []int{1000, 10} {
			b.Run(fmt.Sprintf("%s/batches-of-%d", engine, batch), func(b *testing.B) {
				env := []string{"DELIVERY=durable", "DATA_DIR=" + b.TempDir()}
				if engine == "postgres" {
					env = append(env, "STORE="+newDatabase(b))
				}
				sandbox := startSandbox(b)
				s := serving(b, sandbox, start(b, serverEnv(sandbox, env), "serve"))
				defer s.kill(b)
				var took time.Duration
				for b.Loop() {
					before := s.processorTime(b)
					for range events / batch {
						body, _ := sampleBatch(b, batch)
						if status, answer := postSigned(b, s.url, testSecret, body, body); status != 200 {
							b.Fatalf("%d %s", status, answer)
						}
					}
					awaitDrained(b, serverEnv(sandbox, env), time.Minute)
					took += s.processorTime(b) - before
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(took.Microseconds())/float64(b.N*events), "cpu-µs/event")
				b.ReportMetric(float64(s.peakMemory(b))/(1<<20), "MiB-peak")
			})
		}
	}
}

// processorTime returns how long the process has been running on processors.
func (p *process) processorTime(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	// The name in parentheses may contain any character.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks int
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / clockTicks
}
