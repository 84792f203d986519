package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"segment-saasquatch/adapter"
)

const (
	// redrivePage is how many deliveries one call redrives. Through the admin API a call is one request.
	redrivePage = 2000
	// redriveGrace is how long a call may go on after an interruption, so that its result is known.
	redriveGrace = 10 * time.Second
)

// redriving is a redrive, page by page.
type redriving struct {
	*program
	limit    int
	toTenant string
	progress string
	// matched is how many deliveries the dry run before the question has found, 0 without a dry run.
	matched int64
}

// errOtherServer means that the answer of a server does not say where the next page begins.
var errOtherServer = errors.New("the server is of an earlier version, which redrives all at once: " +
	"update it, or run the command without --server on its machine")

// all redrives the deliveries that the filter picks, or with dry set counts what it would do. It ends between
// two steps once ctx has ended. It returns what was done, with an error too.
func (r *redriving) all(
	ctx context.Context, o adapter.Operations, filter adapter.Filter, dry bool,
) (*adapter.Redrive, error) {
	watched := &watchedRedrive{began: time.Now(), dry: dry, total: r.matched}
	total, err := r.pages(ctx, o, filter, dry, watched)
	total.Before = 0 // only pages have it
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
		if filter.Before = page.Before; !shown { // one page alone needs no progress
			shown = true
			defer r.showProgress(r.progress, watched, false)()
		}
	}
}

// page redrives one page. Once ctx has ended, the page ends between two steps.
func (r *redriving) page(
	ctx context.Context, o adapter.Operations, filter adapter.Filter, size int, dry bool,
) (*adapter.Redrive, error) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if adapter.Wait(lasting, redriveGrace) == nil {
			cancel()
		}
	})()
	return o.Redrive(lasting, filter, size, r.toTenant, dry)
}

// watchedRedrive is the progress of a redrive.
type watchedRedrive struct {
	began time.Time
	dry   bool
	total int64 // 0 if it is unknown

	mu   sync.Mutex
	done adapter.Redrive
}

func (w *watchedRedrive) set(done *adapter.Redrive) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = *done
}

// redriveLine is a line of JSON on the progress.
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

func (w *watchedRedrive) progress() progressState {
	w.mu.Lock()
	defer w.mu.Unlock()
	elapsed, matched := time.Since(w.began), int64(w.done.Matched)
	line := redriveLine{
		Time: time.Now().UTC(), DryRun: w.dry, Matched: matched, Total: w.total,
		Sent: int64(w.done.Sent), Duplicate: int64(w.done.Duplicate),
		PerSecond: perSecond(matched, elapsed), ETA: remaining(matched, w.total, elapsed),
	}
	for _, n := range w.done.Unsendable {
		line.Unsendable += int64(n)
	}
	before := strconv.FormatInt(matched, 10)
	if w.total > 0 {
		before = fmt.Sprintf("%d/%d", matched, w.total)
	}
	what := "pending now"
	if w.dry {
		what = "to send"
	}
	behind := fmt.Sprintf("%.0f/s%s  %d %s", line.PerSecond, etaText(line.ETA), line.Sent, what)
	if line.Duplicate > 0 && !w.dry {
		behind += fmt.Sprintf("  %d duplicate", line.Duplicate)
	}
	return progressState{before + " deliveries", behind, matched, w.total, line}
}
