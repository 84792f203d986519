package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/replay"
)

// show shows the progress of a replay on standard error until stop is called.
func (r *replaying) show(ctx context.Context, opened *archive.Archive, spec *replay.Spec) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	looked := &lookedAt{began: time.Now(), watch: r.watch}
	listed := make(chan struct{})
	go func() {
		defer close(listed)
		if *r.flags.progress == progressNone || readsStdin(spec) {
			return
		}
		if total, err := opened.Total(ctx); err == nil { // lists the whole archive, which may take minutes
			looked.total.Store(&total)
		}
	}()
	end := r.showProgress(*r.flags.progress, looked, true)
	return func() {
		cancel()
		<-listed
		end()
	}
}

// readsStdin reports whether standard input is a source. Its size is unknown.
func readsStdin(spec *replay.Spec) bool { return slices.Contains(spec.Sources, "-") }

// lookedAt is the progress of a replay.
type lookedAt struct {
	began time.Time
	watch *replay.Progress
	total atomic.Pointer[archive.Total] // nil while it is unknown
}

// progressLine is a line of JSON on the progress.
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

func (l *lookedAt) progress() progressState {
	s := l.watch.Snapshot()
	elapsed := time.Since(l.began)
	line := progressLine{
		Time: time.Now().UTC(), Object: s.Object, Objects: s.Objects, ObjectsFailed: s.ObjectsFailed,
		Bytes: s.Bytes, Lines: s.Lines, LinesPerS: perSecond(s.Lines, elapsed),
		Outcomes: make(map[string]int64), Waiting: s.Waiting, Job: s.Job,
	}
	events := make(map[adapter.Outcome]int64)
	for _, tally := range s.Outcomes {
		events[tally.Outcome] += tally.Events
		line.Outcomes[tally.Outcome.String()] += tally.Events
	}
	files, read := strconv.FormatInt(s.Objects, 10), bytesText(s.Bytes)
	if total := l.total.Load(); total != nil {
		line.ObjectsTotal, line.BytesTotal = total.Objects, total.Bytes
		line.ETA = remaining(s.Bytes, total.Bytes, elapsed)
		files, read = fmt.Sprintf("%d/%d", s.Objects, total.Objects), read+"/"+bytesText(total.Bytes)
	}
	behind := fmt.Sprintf("%.0f events/s%s", line.LinesPerS, etaText(line.ETA))
	for _, text := range []string{countsText(events, "  "), s.Job} {
		if text != "" {
			behind += "  " + text
		}
	}
	if s.Waiting != "" {
		behind += "  waits for " + s.Waiting
	}
	return progressState{files + " files  " + read, behind, s.Bytes, line.BytesTotal, line}
}
