package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/replay"
)

// Ways of showing progress.
const (
	progressAuto = "auto"
	progressBar  = "bar"
	progressJSON = "json"
	progressNone = "none"

	progressUsage = "bar, json (a line a second), none, or auto: bar on a terminal, json otherwise"
)

// checkProgress returns an error if the flag names no way of showing progress.
func checkProgress(way string) error {
	switch way {
	case progressAuto, progressBar, progressJSON, progressNone:
		return nil
	}
	return fmt.Errorf("--progress is %q: write bar, json, none or auto", way)
}

// progressWay returns how to show progress on out.
func progressWay(asked string, out io.Writer) string {
	switch {
	case asked != progressAuto:
		return asked
	case isTerminal(out):
		return progressBar
	default:
		return progressJSON
	}
}

// Progress is shown so often: a bar, and a line of JSON.
const (
	barInterval  = 200 * time.Millisecond
	lineInterval = time.Second
)

// shown shows the progress of a replay until it is stopped.
type shown struct {
	cancel  context.CancelFunc
	workers sync.WaitGroup
	last    func() // shows the end
}

// show begins to show the progress on standard error.
func (r *replaying) show(ctx context.Context, opened *archive.Archive, spec *replay.Spec) *shown {
	way := progressWay(r.flags.progress, r.stderr)
	ctx, cancel := context.WithCancel(ctx)
	s := &shown{cancel: cancel, last: func() {}}
	if way == progressNone {
		return s
	}
	looked := &lookedAt{began: time.Now(), watch: r.watch}
	if !readsStdin(spec) {
		// The end is known once everything has been listed, which may take its time.
		s.workers.Go(func() {
			if total, err := opened.Total(ctx); err == nil {
				looked.total.Store(&total)
			}
		})
	}
	if way == progressBar {
		s.last = showBar(r.stderr.out, looked) // which has to be a terminal
		return s
	}
	s.last = func() { looked.writeLine(r.stderr) }
	s.workers.Go(func() { showLines(ctx, func() { looked.writeLine(r.stderr) }) })
	return s
}

// showLines calls write once a second until ctx ends.
func showLines(ctx context.Context, write func()) {
	ticker := time.NewTicker(lineInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			write()
		case <-ctx.Done():
			return
		}
	}
}

// readsStdin reports whether the standard input is a source, whose size nobody knows.
func readsStdin(spec *replay.Spec) bool {
	for _, source := range spec.Sources {
		if source == "-" {
			return true
		}
	}
	return false
}

// stop shows the end and waits until nothing is shown any more.
func (s *shown) stop() {
	s.cancel()
	s.workers.Wait()
	s.last()
}

// lookedAt is a replay whose progress is shown.
type lookedAt struct {
	began time.Time
	watch *replay.Progress
	total atomic.Pointer[archive.Total] // nil until it is known
}

// progressLine is what a line of JSON has.
type progressLine struct {
	Time          time.Time        `json:"time"`
	Object        string           `json:"object,omitempty"`
	Objects       int64            `json:"objects"`
	ObjectsTotal  int64            `json:"objects_total,omitempty"`
	ObjectsFailed int64            `json:"objects_failed"`
	Bytes         int64            `json:"bytes"`
	BytesTotal    int64            `json:"bytes_total,omitempty"`
	Lines         int64            `json:"lines"`
	LinesPerS     float64          `json:"lines_per_second"`
	ETA           float64          `json:"eta_seconds,omitempty"`
	Outcomes      map[string]int64 `json:"outcomes"`
	Waiting       string           `json:"waiting,omitempty"`
	Job           string           `json:"job,omitempty"`
}

func (l *lookedAt) line() progressLine {
	s := l.watch.Snapshot()
	elapsed := time.Since(l.began).Seconds()
	line := progressLine{
		Time: time.Now().UTC(), Object: s.Object, Objects: s.Objects, ObjectsFailed: s.ObjectsFailed, Bytes: s.Bytes, Lines: s.Lines,
		LinesPerS: float64(int64(float64(s.Lines) / max(elapsed, 1e-3))), Outcomes: make(map[string]int64), Waiting: s.Waiting, Job: s.Job,
	}
	for _, tally := range s.Outcomes {
		line.Outcomes[tally.Outcome.String()] += tally.Events
	}
	if total := l.total.Load(); total != nil {
		line.ObjectsTotal, line.BytesTotal = total.Objects, total.Bytes
		if s.Bytes > 0 && total.Bytes > s.Bytes {
			line.ETA = float64(int64(elapsed * float64(total.Bytes-s.Bytes) / float64(s.Bytes)))
		}
	}
	return line
}

func (l *lookedAt) writeLine(out io.Writer) {
	_ = json.NewEncoder(out).Encode(l.line()) // whoever does not listen misses nothing else
}

// barred is work whose progress a bar shows.
type barred interface {
	// counters and outcomes are shown before the bar and behind it.
	counters() string
	outcomes() string
	// position returns how far the work is, of a total that is 0 if it is not known.
	position() (current, total int64)
}

// showBar shows a bar and returns what shows its end.
func showBar(out io.Writer, work barred) (end func()) {
	container := mpb.New(mpb.WithOutput(out), mpb.WithRefreshRate(barInterval), mpb.WithAutoRefresh())
	bar := container.New(0, mpb.BarStyle(),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return work.counters() })),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return work.outcomes() })))
	advance := func() {
		current, total := work.position()
		if total > 0 {
			bar.SetTotal(total+1, false) // never full by itself: events may be pending still
		}
		bar.SetCurrent(current)
	}
	done := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() {
		ticker := time.NewTicker(barInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				advance()
			case <-done:
				advance()
				return
			}
		}
	})
	return func() {
		close(done)
		endBar(func() {
			ticking.Wait()
			bar.Abort(false)
			container.Wait()
		})
	}
}

// endBar waits for the end of a bar, unless the terminal was stopped.
func endBar(end func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		end()
	}()
	select {
	case <-ended:
	case <-time.After(logCloseTimeout):
	}
}

func (l *lookedAt) position() (current, total int64) {
	if known := l.total.Load(); known != nil {
		total = known.Bytes
	}
	return l.watch.Snapshot().Bytes, total
}

// counters are shown before the bar.
func (l *lookedAt) counters() string {
	line := l.line()
	text := fmt.Sprintf("%d", line.Objects)
	if line.ObjectsTotal > 0 {
		text = fmt.Sprintf("%d/%d", line.Objects, line.ObjectsTotal)
	}
	text += " files  " + bytesText(line.Bytes)
	if line.BytesTotal > 0 {
		text += "/" + bytesText(line.BytesTotal)
	}
	return text
}

// outcomes are shown behind it.
func (l *lookedAt) outcomes() string {
	line := l.line()
	text := fmt.Sprintf("%.0f events/s", line.LinesPerS)
	if line.ETA > 0 {
		text += "  ETA " + (time.Duration(line.ETA) * time.Second).String()
	}
	for _, outcome := range adapter.Outcomes {
		if n := line.Outcomes[outcome.String()]; n > 0 {
			text += fmt.Sprintf("  %d %s", n, outcome)
		}
	}
	if line.Job != "" {
		text += "  " + line.Job
	}
	if line.Waiting != "" {
		text += "  waits for " + line.Waiting
	}
	return text
}
