package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"segment-saasquatch/adapter"
)

const (
	// redrivePage is how many deliveries one call redrives, through the admin API one request.
	redrivePage = 2000
	// redriveGrace is how long an interrupted call may take to end, so that it is known how
	// much it did.
	redriveGrace = 10 * time.Second
)

// redriving is a redrive that goes page by page.
type redriving struct {
	limit    int
	toTenant string
	progress string
	stderr   *logBuffer

	// matched is how many deliveries the dry run before the question has found, 0 without
	// one.
	matched int64
}

// errOtherServer means that the server answered a part of a redrive without saying where the
// next begins.
var errOtherServer = errors.New("the server is of an earlier version, which redrives all at once: " +
	"update it, or run the command without --server on its machine")

// all redrives what the filter picks, or says what it would do. It ends between two steps once
// ctx has ended. What was done comes with an error too.
func (r *redriving) all(
	ctx context.Context, o adapter.Operations, filter adapter.Filter, dry bool,
) (*adapter.Redrive, error) {
	watched := &watchedRedrive{began: time.Now(), dry: dry, total: r.matched}
	total, err := r.pages(ctx, o, filter, dry, watched)
	total.Before = 0 // which is for the next page
	switch {
	case err == nil && dry:
		r.matched = int64(total.Matched)
	case err == nil || dry:
	case errors.Is(err, errInterrupted):
		err = fmt.Errorf("%w: the same command goes on with the others", err)
	case total.Matched > 0:
		err = fmt.Errorf("after at least %d deliveries were redriven: %w", total.Sent+total.Duplicate, err)
	}
	return total, err
}

func (r *redriving) pages(
	ctx context.Context, o adapter.Operations, filter adapter.Filter, dry bool, watched *watchedRedrive,
) (*adapter.Redrive, error) {
	total := &adapter.Redrive{}
	for shown := false; ; {
		size := redrivePage
		if r.limit > 0 {
			size = min(size, r.limit-total.Matched)
		}
		page, err := r.page(ctx, o, filter, size, dry)
		if page != nil {
			total.Add(page)
			watched.set(total)
		}
		switch {
		case ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
			return total, errInterrupted
		case err != nil:
			return total, err
		case page.Matched < size || total.Matched == r.limit:
			return total, nil
		case page.Before == 0:
			return total, errOtherServer
		}
		if filter.Before = page.Before; !shown { // it is long enough to be watched
			shown = true
			defer r.show(watched)()
		}
	}
}

// page redrives one page. When ctx ends it ends too, but between two steps.
func (r *redriving) page(
	ctx context.Context, o adapter.Operations, filter adapter.Filter, size int, dry bool,
) (*adapter.Redrive, error) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(redriveGrace):
			cancel()
		case <-lasting.Done():
		}
	})()
	return o.Redrive(lasting, filter, size, r.toTenant, dry)
}

// show shows the progress on standard error until stop is called.
func (r *redriving) show(watched *watchedRedrive) (stop func()) {
	switch progressWay(r.progress, r.stderr) {
	case progressBar:
		return showBar(r.stderr.out, watched) // which has to be a terminal
	case progressJSON:
		ctx, cancel := context.WithCancel(context.Background())
		var showing sync.WaitGroup
		write := func() { _ = json.NewEncoder(r.stderr).Encode(watched.line()) }
		showing.Go(func() { showLines(ctx, write) })
		return func() { cancel(); showing.Wait() }
	default:
		return func() {}
	}
}

// watchedRedrive is a redrive whose progress is shown.
type watchedRedrive struct {
	began time.Time
	dry   bool
	total int64 // 0 if it is not known

	mu   sync.Mutex
	done adapter.Redrive
}

func (w *watchedRedrive) set(done *adapter.Redrive) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = *done
}

// redriveLine is what a line of JSON has.
type redriveLine struct {
	Time       time.Time `json:"time"`
	DryRun     bool      `json:"dry_run,omitempty"`
	Matched    int64     `json:"matched"`
	Total      int64     `json:"matched_total,omitempty"`
	Sent       int64     `json:"sent"`
	Duplicate  int64     `json:"duplicate"`
	Unsendable int64     `json:"unsendable"`
	PerSecond  float64   `json:"deliveries_per_second"`
	ETA        float64   `json:"eta_seconds,omitempty"`
}

func (w *watchedRedrive) line() redriveLine {
	w.mu.Lock()
	defer w.mu.Unlock()
	elapsed := max(time.Since(w.began).Seconds(), 1e-3)
	line := redriveLine{
		Time: time.Now().UTC(), DryRun: w.dry, Matched: int64(w.done.Matched), Total: w.total,
		Sent: int64(w.done.Sent), Duplicate: int64(w.done.Duplicate),
		PerSecond: float64(int64(float64(w.done.Matched) / elapsed)),
	}
	for _, n := range w.done.Unsendable {
		line.Unsendable += int64(n)
	}
	if line.Matched > 0 && line.Total > line.Matched {
		line.ETA = float64(int64(elapsed * float64(line.Total-line.Matched) / float64(line.Matched)))
	}
	return line
}

func (w *watchedRedrive) position() (current, total int64) {
	line := w.line()
	return line.Matched, line.Total
}

func (w *watchedRedrive) counters() string {
	line := w.line()
	if line.Total > 0 {
		return fmt.Sprintf("%d/%d deliveries", line.Matched, line.Total)
	}
	return fmt.Sprintf("%d deliveries", line.Matched)
}

func (w *watchedRedrive) outcomes() string {
	line := w.line()
	text := fmt.Sprintf("%.0f/s", line.PerSecond)
	if line.ETA > 0 {
		text += "  ETA " + (time.Duration(line.ETA) * time.Second).String()
	}
	if line.DryRun {
		return text + fmt.Sprintf("  %d to send", line.Sent)
	}
	text += fmt.Sprintf("  %d pending now", line.Sent)
	if line.Duplicate > 0 {
		text += fmt.Sprintf("  %d duplicate", line.Duplicate)
	}
	return text
}
