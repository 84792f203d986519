package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Values of --progress.
const (
	progressAuto = "auto"
	progressBar  = "bar"
	progressJSON = "json"
	progressNone = "none"
)

// How often a bar is drawn, and a line of JSON is written.
const (
	barInterval  = 200 * time.Millisecond
	lineInterval = time.Second
)

func addProgressFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("progress", progressAuto,
		"show the progress as bar, json (a line a second), none, or auto: bar on a terminal, json otherwise")
}

// checkProgress returns an error if way is not a value of --progress.
func checkProgress(way string) error {
	switch way {
	case progressAuto, progressBar, progressJSON, progressNone:
		return nil
	}
	return fmt.Errorf("--progress is %q: write bar, json, none or auto", way)
}

// progressing is work whose progress is shown.
type progressing interface{ progress() progressState }

// progressState is how far work is.
type progressState struct {
	before, behind string // beside a bar
	done, total    int64  // total is 0 while it is unknown
	line           any    // the value of a line of JSON
}

// showProgress shows progress on standard error until stop is called, in the way of --progress. With last
// set, stop writes a last line of JSON.
func (p *program) showProgress(way string, work progressing, last bool) (stop func()) {
	if way == progressAuto {
		way = progressJSON
		if isTerminal(p.stderr) {
			way = progressBar
		}
	}
	switch way {
	case progressBar:
		return showBar(p.stderr.out, work) // past the buffer: a bar needs the terminal itself
	case progressJSON:
		write := func() { _ = json.NewEncoder(p.stderr).Encode(work.progress().line) } // the buffer never fails
		end := every(lineInterval, write)
		return func() {
			end()
			if last {
				write()
			}
		}
	default:
		return func() {}
	}
}

// every calls fn at each interval until stop is called, which waits for the last call.
func every(interval time.Duration, fn func()) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				fn()
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); running.Wait() }
}

// showBar shows a bar until end is called.
func showBar(out io.Writer, work progressing) (end func()) {
	container := mpb.New(mpb.WithOutput(out), mpb.WithRefreshRate(barInterval), mpb.WithAutoRefresh())
	bar := container.New(0, mpb.BarStyle(),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return work.progress().before })),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return work.progress().behind })))
	advance := func() {
		state := work.progress()
		if state.total > 0 {
			bar.SetTotal(state.total+1, false) // the bar never completes by itself: events may still be pending
		}
		bar.SetCurrent(state.done)
	}
	stop := every(barInterval, advance)
	return func() {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			stop()
			advance()
			bar.Abort(false)
			container.Wait()
		}()
		select {
		case <-ended:
		case <-time.After(logCloseTimeout): // a stopped terminal takes nothing
		}
	}
}

// counting is the progress of one count.
type counting struct {
	what        string
	text        func(int64) string // of a number
	done, total atomic.Int64
}

func (c *counting) progress() progressState {
	done, total := c.done.Load(), c.total.Load()
	return progressState{before: c.what + "  " + c.text(done) + "/" + c.text(total), done: done, total: total}
}

// showCount shows a count on standard error until end is called, if that is a terminal.
func (p *program) showCount(what string, text func(int64) string) (progress func(done, total int64), end func()) {
	if !isTerminal(p.stderr) {
		return func(int64, int64) {}, func() {}
	}
	c := &counting{what: what, text: text}
	return func(done, total int64) { c.done.Store(done); c.total.Store(total) }, showBar(p.stderr.out, c)
}

// perSecond returns a rate, without decimals.
func perSecond(n int64, elapsed time.Duration) float64 {
	return float64(int64(float64(n) / max(elapsed.Seconds(), 1e-3)))
}

// remaining returns the estimated time of the rest in seconds, without decimals, 0 if it is unknown.
func remaining(done, total int64, elapsed time.Duration) float64 {
	if done <= 0 || total <= done {
		return 0
	}
	return float64(int64(elapsed.Seconds() * float64(total-done) / float64(done)))
}

// etaText writes the result of remaining, empty if it is 0.
func etaText(seconds float64) string {
	if seconds == 0 {
		return ""
	}
	return "  ETA " + (time.Duration(seconds) * time.Second).String()
}
