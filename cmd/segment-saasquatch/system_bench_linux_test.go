package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

// systemEventsEnv is the environment variable with the number of events of a round. Without it BenchmarkSystem is
// skipped, because it takes minutes.
const systemEventsEnv = "SYSTEM_BENCH_EVENTS"

// systemRows are the rows of BenchmarkSystem. Each has a baseline that is measured by turns with it.
var systemRows = []systemRow{
	{name: "floor, calls of 100", base: "floor", startBase: bareClient(1, 64), start: bareClient(100, 8)},
	{name: "durable", base: "floor", startBase: bareClient(1, 64), start: durableServer(0),
		target: "rate ≥ 0.6, CPU ≤ 2.5"},
	{name: "durable, bulk 100", base: "floor", startBase: bareClient(1, 64), start: durableServer(0, bulk100),
		target: "rate ≥ 1.5, CPU ≤ 1.2"},
	{name: "direct", base: "floor", startBase: bareClient(1, 64), start: directServer,
		target: "rate ≥ 0.85, CPU ≤ 1.5"},
	{name: "durable, bulk 100, 80 ms latency", start: durableServer(80*time.Millisecond, bulk100),
		target: "≥ 15 000 events/s, or busy"},
	{name: "PostgreSQL", base: "SQLite", startBase: durableServer(0), start: postgresServer(),
		target: "rate ≥ 0.8"},
	{name: "PostgreSQL, bulk 100", base: "SQLite, bulk 100", startBase: durableServer(0, bulk100),
		start: postgresServer(bulk100), target: "rate ≥ 0.8"},
	{name: "replay, bulk 100", base: "dry run", startBase: dryRun, start: bulkReplay, target: "rate ≥ 0.3"},
}

const bulk100 = "SAASQUATCH_BULK=100"

// BenchmarkSystem measures the built program from outside. A bare client is the floor: it posts finished bodies to the
// sink, 64 at once. Baseline and program take turns, so that other load meets both alike. A round lasts from the first
// request until the sink has every event; that of a replay is the life of its process. The number of pairs is that of
// -benchtime, such as 5x. The benchmark prints a Markdown table with the medians, and the ranges in brackets.
//
// The processor time is that of the program or of the bare client. The sink, the sender of the webhooks and PostgreSQL
// have theirs beside it, on the same processors. The data directories are in TMPDIR.
func BenchmarkSystem(b *testing.B) {
	if os.Getenv(systemEventsEnv) == "" {
		b.Skip("SKIP: start it with make bench-system")
	}
	rows := systemRows
	for i := range rows {
		row := &rows[i]
		row.failed = !b.Run(row.name, func(b *testing.B) {
			row.ran = true
			own, base := row.start(b), subject(nil)
			if row.startBase != nil {
				base = row.startBase(b)
			}
			for b.Loop() {
				if base != nil {
					row.bases = append(row.bases, base())
				}
				row.own = append(row.own, own())
			}
			row.report(b)
		})
	}
	printSystemTable(rows)
}

// A starter starts the subject of a row, or its baseline. A subject measures one round.
type (
	starter func(b *testing.B) subject
	subject func() sample
)

// systemEvents returns the number of events of a round.
func systemEvents(b *testing.B) int {
	b.Helper()
	events, err := strconv.Atoi(os.Getenv(systemEventsEnv))
	if err != nil || events < 1 {
		b.Fatalf("%s is %q: write a number of events", systemEventsEnv, os.Getenv(systemEventsEnv))
	}
	return events
}

// bareClient starts a client that posts finished bodies to a sink, bulk of them in a call.
func bareClient(bulk, atOnce int) starter {
	return func(b *testing.B) subject {
		target, n := startSink(b, 0), systemEvents(b)
		return func() sample {
			calls := floorCalls(b, orderEvents(b, n), target.url, bulk)
			before := ownTime(b)
			s := measure(b, n, func() error { return target.receive(b, calls, atOnce, n) })
			s.cpu = (ownTime(b) - before) / time.Duration(n)
			return s
		}
	}
}

func ownTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func directServer(b *testing.B) subject { return startMeasured(b, 0, "DELIVERY=direct") }

func durableServer(latency time.Duration, env ...string) starter {
	return func(b *testing.B) subject {
		return startMeasured(b, latency, append([]string{"DELIVERY=durable", "DATA_DIR=" + b.TempDir()}, env...)...)
	}
}

func postgresServer(env ...string) starter {
	return func(b *testing.B) subject {
		return durableServer(0, append([]string{"STORE=" + newDatabase(b)}, env...)...)(b)
	}
}

// startMeasured starts a server in front of a sink. Eight senders post signed batches to it.
func startMeasured(b *testing.B, latency time.Duration, env ...string) subject {
	target := startSink(b, latency)
	log := filepath.Join(b.TempDir(), "log")
	// The log goes to a file, because a pipe would cost processor time of this process.
	p := startCommand(b, serverEnv(target.url, env),
		exec.Command("sh", "-c", `exec "$0" serve >"$1" 2>&1`, binary, log))
	b.Cleanup(func() { p.kill(b) }) // before its directory is removed
	url := awaitAddress(b, log)
	n := systemEvents(b)
	return func() sample {
		calls := webhookCalls(orderEvents(b, n), url)
		before := p.processorTime(b)
		s := measure(b, n, func() error { return target.receive(b, calls, 8, n) })
		s.cpu, s.peak = (p.settle(b)-before)/time.Duration(n), p.peakMemory(b)
		return s
	}
}

// awaitAddress waits until the server of a log serves, and returns the URL of its webhook.
func awaitAddress(b *testing.B, log string) (url string) {
	b.Helper()
	serving := regexp.MustCompile(`"msg":"serving","address":"([^"]+)"`)
	awaitState(b, 20*time.Second, 10*time.Millisecond, func() (bool, string) {
		text, err := os.ReadFile(log)
		found := serving.FindSubmatch(text)
		if err != nil || found == nil {
			return false, fmt.Sprintf("%v %s", err, text)
		}
		url = "http://" + string(found[1]) + "/segment"
		return true, ""
	})
	return url
}

// settle waits until the process has recorded the last outcomes, and returns its processor time.
func (p *process) settle(b *testing.B) (took time.Duration) {
	b.Helper()
	awaitState(b, time.Minute, 100*time.Millisecond, func() (bool, string) {
		before := took
		took = p.processorTime(b)
		return took == before, "the process is still busy"
	})
	return took
}

// dryRun counts the events of an archive as large as that of bulkReplay.
func dryRun(b *testing.B) subject {
	file, n := writeOrders(b)
	return func() sample { return replayMeasured(b, n, "http://127.0.0.1:1", "--dry-run", file) }
}

// bulkReplay replays the same events in each round, to a sink and into a store that do not have them yet.
func bulkReplay(b *testing.B) subject {
	file, n := writeOrders(b)
	return func() sample {
		target := startSink(b, 0)
		measured := replayMeasured(b, n, target.url, "--bulk", "100", file)
		target.await(b, n)
		return measured
	}
}

// writeOrders writes an archive with the events of four rounds.
func writeOrders(b *testing.B) (file string, n int) {
	b.Helper()
	n, file = 4*systemEvents(b), filepath.Join(b.TempDir(), "events.gz")
	out, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	packed := gzip.NewWriter(out)
	_, err = packed.Write(bytes.Join(orderEvents(b, n), []byte("\n")))
	if err := errors.Join(err, packed.Close(), out.Close()); err != nil {
		b.Fatal(err)
	}
	return file, n
}

// replayMeasured runs a replay from its start to its end.
func replayMeasured(b *testing.B, n int, sink string, args ...string) sample {
	b.Helper()
	cmd := exec.Command(binary, append([]string{"replay", "--identify", "none", "--progress", "none"}, args...)...)
	cmd.Env = serverEnv(sink, []string{"DATA_DIR=" + b.TempDir()})
	s := measure(b, n, func() error {
		text, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, text)
		}
		return err
	})
	state := cmd.ProcessState
	s.cpu = (state.UserTime() + state.SystemTime()) / time.Duration(n)
	s.peak = state.SysUsage().(*syscall.Rusage).Maxrss << 10
	return s
}

// sample has the figures of a round.
type sample struct {
	rate float64       // events a second
	busy float64       // share of the machine's processors
	cpu  time.Duration // of the subject for an event
	peak int64         // bytes of memory of the subject so far, 0 if unknown
}

// measure runs a round with n events.
func measure(b *testing.B, n int, round func() error) sample {
	b.Helper()
	runtime.GC() // of the preparation
	began, idle := time.Now(), idleTime(b)
	if err := round(); err != nil {
		b.Fatal(err)
	}
	took := time.Since(began)
	idle = (idleTime(b) - idle) / time.Duration(runtime.NumCPU())
	return sample{rate: float64(n) / took.Seconds(), busy: max(0, 1-idle.Seconds()/took.Seconds())}
}

// idleTime returns how long all processors of the machine have been idle, or waiting for a disk.
func idleTime(b *testing.B) time.Duration {
	b.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	var user, nice, system, idle, wait int64
	if _, err := fmt.Sscanf(string(text), "cpu %d %d %d %d %d", &user, &nice, &system, &idle, &wait); err != nil {
		b.Fatal(err)
	}
	return time.Duration(idle+wait) * time.Second / clockTicks
}
