package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter"
)

// changeFlags are the flags of commands that change deliveries.
type changeFlags struct {
	*deliveriesFlags
	confirmFlags
	limit int
}

func (p *program) addChangeFlags(cmd *cobra.Command) *changeFlags {
	f := &changeFlags{deliveriesFlags: p.addDeliveriesFlags(cmd)}
	f.addFilter()
	f.addJSON()
	f.confirmFlags.add(cmd)
	cmd.Flags().IntVar(&f.limit, "limit", 0, "change at most this number of `deliveries`, newest first; 0 is no limit")
	return f
}

// changing changes the deliveries that a filter picks, or with dry set finds out what it would do. It returns the
// report as a text and as a value.
type changing func(_ context.Context, _ adapter.Operations, _ adapter.Filter, dry bool) (string, any, error)

// change changes deliveries after a confirmation. The function scanned returns the filter that finds them.
func (p *program) change(f *changeFlags, scanned func(adapter.Filter) adapter.Filter, do changing) error {
	if f.limit < 0 {
		return fmt.Errorf("--limit is %d: write a number, 0 for all", f.limit)
	}
	if err := p.canConfirm(&f.confirmFlags); err != nil {
		return err
	}
	change := func(ctx context.Context, o adapter.Operations, filter adapter.Filter) error {
		p.noteScan(ctx, o, scanned(filter))
		return p.carryOut(ctx, &f.confirmFlags, f.asJSON, func(dry bool) (string, any, error) {
			return do(ctx, o, filter, dry)
		})
	}
	return p.withFilter(f.deliveriesFlags, change)
}

func (p *program) redriveCommand() *cobra.Command {
	cmd := command("redrive", "Send dead and rejected deliveries again", `
Redrive makes dead and rejected deliveries pending again. It maps their stored
Segment events with the present rules. Events that the rules still reject or skip
stay as they are. With --outcome pending it makes pending events due at once. It
reports how many it would send, and asks for confirmation. A redrive sends the events
of an import job one by one, which fires programs and rewards. It reports their number.

It works in small steps, so that a running server goes on meanwhile. Ctrl-C ends it
between two steps. It reports how many deliveries are pending by then, and the same
command goes on with the others.

An event belongs to the tenant that it was accepted for. If the connection has another
tenant now, redrive leaves the event. With --to-tenant and the alias of the
connection's present tenant, it takes only events of former tenants, pending ones too,
and moves them to the present tenant. An event that this tenant already has is a
duplicate and is not sent again.`)
	f := p.addChangeFlags(cmd)
	var toTenant string
	cmd.Flags().StringVar(&toTenant, "to-tenant", "",
		"move events of former tenants to the connection's present tenant, with this `alias` (default: move none)")
	way := addProgressFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		if toTenant == "" && cmd.Flags().Changed("to-tenant") {
			return errors.New("--to-tenant is empty: " +
				"give the alias of the connection's present tenant, or leave it out")
		}
		if err := checkProgress(*way); err != nil {
			return err
		}
		r := &redriving{program: p, limit: f.limit, toTenant: toTenant, progress: *way}
		return p.change(f, func(filter adapter.Filter) adapter.Filter { return filter.ForRedrive(toTenant) },
			func(ctx context.Context, o adapter.Operations, filter adapter.Filter, dry bool) (string, any, error) {
				done, err := r.all(ctx, o, filter, dry)
				if err != nil && (dry || done.Matched == 0) {
					return "", nil, err
				}
				return redriveText(done, toTenant, dry), done, err
			})
	}
	return cmd
}

// redriveText tells what a redrive has done, or with dry set what it would do.
func redriveText(done *adapter.Redrive, toTenant string, dry bool) string {
	var b strings.Builder
	// count writes a number and its meaning, unless the number is 0.
	count := func(n int, text string) {
		if n > 0 {
			fmt.Fprintf(&b, "; %d %s", n, text)
		}
	}
	present, duplicates, fires := "are pending now", "were delivered meanwhile", "they are sent"
	held := "wait for an import job: go on with their run by replay --resume"
	if dry {
		present, fires = "would be sent", "a redrive sends them"
	}
	if toTenant != "" {
		duplicates = "are already at the new tenant"
		held = "wait for an import job, and are not moved: purge them and replay their archive again"
	}
	fmt.Fprintf(&b, "%d of %d deliveries %s", done.Sent, done.Matched, present)
	count(done.Duplicate, duplicates)
	for _, reason := range slices.Sorted(maps.Keys(done.Unsendable)) {
		fmt.Fprintf(&b, "; %d stay as they are: %s", done.Unsendable[reason], reason)
	}
	const remedy = "replay them from the Segment archive"
	count(done.NoPayload, "have no payload any more, since dead_letters.max_bytes had no room: "+remedy)
	count(done.Damaged, "have a payload that is damaged in the store, and stay as they are: "+remedy)
	count(done.NoConnection, "are of connections that are not configured")
	count(done.Held, held)
	count(done.InHand, "are in flight, or have changed meanwhile: repeat the command in two minutes")
	for i := range done.OtherTenant {
		m := &done.OtherTenant[i]
		fmt.Fprintf(&b, "; %d stay with the tenant %s, while their connection %s has %s: "+
			"redrive --to-tenant %s moves them", m.Events, m.From, m.Connection, m.To, adapter.TenantAlias(m.To))
	}
	if done.FiresPrograms > 0 {
		fmt.Fprintf(&b, "\n%d of them came for an import job: %s one by one, which fires programs and rewards",
			done.FiresPrograms, fires)
	}
	warned := make(map[string]bool)
	for i := range done.Moved {
		m := &done.Moved[i]
		fmt.Fprintf(&b, "\n%d go from the tenant %s to %s, connection %s", m.Events, m.From, m.To, m.Connection)
		if warning := m.Warning(); warning != "" && !warned[warning] {
			warned[warning] = true
			fmt.Fprintf(&b, "\n%s", warning)
		}
	}
	return b.String()
}

func (p *program) purgeCommand() *cobra.Command {
	cmd := command("purge", "Delete deliveries with their payloads and histories", `
Purge deletes the deliveries that the filter picks, with payload and history. A
pending event is never sent after that. A delivered event is unknown after that: if it
comes again, it is sent again. Purge reports how many deliveries it would delete, and
asks for confirmation.`)
	f := p.addChangeFlags(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		return p.change(f, func(filter adapter.Filter) adapter.Filter { return filter },
			func(ctx context.Context, o adapter.Operations, filter adapter.Filter, dry bool) (string, any, error) {
				done, err := o.Purge(ctx, filter, f.limit, dry)
				if err != nil {
					return "", nil, err
				}
				return purgeText(done, dry), done, nil
			})
	}
	return cmd
}

func purgeText(done *adapter.Purge, dry bool) string {
	total := 0
	for _, n := range done.Purged {
		total += n
	}
	text := fmt.Sprintf("%d deliveries were deleted", total)
	if dry {
		text = fmt.Sprintf("%d deliveries would be deleted", total)
	}
	if total > 0 {
		text += ": " + countsText(done.Purged, ", ")
	}
	if dry && done.Purged[adapter.Pending] > 0 {
		text += "; the pending ones would never be sent"
	}
	return text
}

// countsText lists the numbers that are not 0, with their outcomes.
func countsText[N int | int64](counts map[adapter.Outcome]N, separator string) string {
	var parts []string
	for _, outcome := range adapter.Outcomes {
		if n := counts[outcome]; n != 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, outcome))
		}
	}
	return strings.Join(parts, separator)
}

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
