package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMemoryOfShortLines checks that a compressed log of many short lines takes no more memory than other logs, at
// any length.
func TestMemoryOfShortLines(t *testing.T) {
	const maxPeak, maxGrowth = 150 << 10, 1.5 // KiB
	for _, command := range []string{"replay --dry-run --progress none",
		"replay --via import --progress none --out", "map"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			peak := func(lines int) int {
				args := strings.Fields(command)
				if args[len(args)-1] == "--out" {
					args = append(args, t.TempDir()+"/"+strconv.Itoa(lines))
				}
				return peakMemory(t, append(args, writeEvents(t, gzipped(t, strings.Repeat("{}\n", lines))))...)
			}
			short, long := peak(100_000), peak(400_000)
			if short == 0 || long > maxPeak || float64(long) > maxGrowth*float64(short) {
				t.Errorf("%d KiB for a log, %d KiB for a quarter of it", long, short)
			}
		})
	}
}

var peakLine = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)

// peakMemory runs the program and returns its peak memory, in KiB. It reads the number repeatedly: the number of an
// ended process includes the memory that its parent had at the start. The program may fail, but not for its command
// line.
func peakMemory(t *testing.T, args ...string) (peak int) {
	t.Helper()
	var messages strings.Builder
	cmd := exec.Command(binary, args...)
	cmd.Stderr = &messages
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	status := fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // the exit code is checked below
	}()
	for look := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case <-look.C:
			text, _ := os.ReadFile(status) // empty once the process has ended
			if found := peakLine.FindSubmatch(text); found != nil {
				peak, _ = strconv.Atoi(string(found[1]))
			}
		case <-ended:
			look.Stop()
			if code := cmd.ProcessState.ExitCode(); code != exitOK && code != exitFailed {
				t.Fatalf("exit code %d: %s", code, &messages)
			}
			return peak
		}
	}
}
