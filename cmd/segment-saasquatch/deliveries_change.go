package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"segment-saasquatch/adapter"
)

// changeFlags are those of commands that change deliveries.
type changeFlags struct {
	*deliveriesFlags
	dry, yes bool
	limit    int
}

func addChangeFlags(cmd *cobra.Command) *changeFlags {
	f := &changeFlags{deliveriesFlags: addDeliveriesFlags(cmd)}
	f.addFilter()
	f.addJSON()
	flags := cmd.Flags()
	flags.BoolVar(&f.dry, "dry-run", false, "say what would be done, and do nothing")
	flags.BoolVar(&f.yes, "yes", false, "do not ask")
	flags.IntVar(&f.limit, "limit", 0, "most `deliveries` to take, the newest first; 0 for all")
	return f
}

// errNotConfirmed means that nothing was changed because nobody agreed.
var errNotConfirmed = errors.New("nothing was changed")

// change says what would be done, asks, and does it. Scanned returns the filter by which
// the deliveries are found.
func (p *program) change(f *changeFlags, scanned func(adapter.Filter) adapter.Filter, question func(context.Context, adapter.Operations, adapter.Filter) (string, any, error),
	do func(context.Context, adapter.Operations, adapter.Filter) (string, any, error)) error {
	filter, err := f.filter(time.Now())
	if err != nil {
		return err
	}
	if f.limit < 0 {
		return fmt.Errorf("--limit is %d: write a number, 0 for all", f.limit)
	}
	if err := p.canConfirm(f.yes, f.dry); err != nil {
		return err
	}
	return p.withOperations(f.deliveriesFlags, func(ctx context.Context, o adapter.Operations) error {
		p.noteScan(ctx, o, scanned(filter))
		if f.dry || !f.yes {
			text, value, err := question(ctx, o, filter)
			if err != nil {
				return err
			}
			if f.dry {
				return p.report(text, value, f.asJSON)
			}
			if err := p.ask(ctx, text); err != nil {
				return err
			}
		}
		text, value, err := do(ctx, o, filter)
		if text == "" {
			return err
		}
		return errors.Join(err, p.report(text, value, f.asJSON))
	})
}

func (p *program) report(text string, value any, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(p.stdout).Encode(value)
	}
	_, err := fmt.Fprintln(p.stdout, text)
	return err
}

// canConfirm returns an error if the operator has to be asked, and there is no terminal to ask
// on.
func (p *program) canConfirm(yes, dry bool) error {
	if yes || dry || p.canAsk() {
		return nil
	}
	return fmt.Errorf("%w: there is no terminal to ask on; add --yes to do it, or --dry-run to see what it would do",
		errNotConfirmed)
}

func (p *program) canAsk() bool {
	file, ok := p.stdin.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// ask asks the person, and returns nil if the person agrees. When ctx ends first, the
// error is errInterrupted too.
func (p *program) ask(ctx context.Context, question string) error {
	fmt.Fprintf(p.stderr, "%s\nGo on? [y/N] ", question)
	answered := make(chan string, 1)
	go func() {
		answer, _ := bufio.NewReader(p.stdin).ReadString('\n') // an end of input is a no
		answered <- strings.ToLower(strings.TrimSpace(answer))
	}()
	select {
	case answer := <-answered:
		if answer == "y" || answer == "yes" {
			return nil
		}
		return errNotConfirmed
	case <-ctx.Done(): // the read is left behind
		return fmt.Errorf("%w: %w", errNotConfirmed, errInterrupted)
	}
}

func (p *program) redriveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "redrive",
		Short: "Send dead and rejected deliveries again",
		Long: `Redrive makes dead and rejected deliveries pending again. Their stored Segment
events are mapped with today's rules; those that the rules still reject or skip
stay as they are. With --outcome pending it makes pending ones due at once. It
says how many would be sent, and asks. Events that a replay brought for an import
job are sent one by one, which fires programs and rewards: it says how many.

It works in small steps, so that a running server goes on meanwhile. Ctrl-C ends it
between two of them; it says how many are pending by then, and the same command
goes on with the others.

An event belongs to the tenant that it was accepted for. Redrive leaves those of a
tenant that their connection does not have any more. With --to-tenant and the alias
of the tenant that the connection has now, it takes those alone, pending ones as
well, and moves them to that tenant. What that tenant has already is a duplicate
and is not sent again.`,
		Args: cobra.NoArgs,
	}
	f := addChangeFlags(cmd)
	var toTenant, progress string
	cmd.Flags().StringVar(&toTenant, "to-tenant", "",
		"`alias` of the connection's present tenant, to move events of former tenants there")
	cmd.Flags().StringVar(&progress, "progress", progressAuto, progressUsage)
	cmd.RunE = func(*cobra.Command, []string) error {
		if toTenant == "" && cmd.Flags().Changed("to-tenant") {
			return errors.New("--to-tenant is empty: name the alias of the tenant that the connection has now, or leave it out")
		}
		if err := checkProgress(progress); err != nil {
			return err
		}
		r := &redriving{limit: f.limit, toTenant: toTenant, progress: progress, stderr: p.stderr}
		redrive := func(dry bool) func(context.Context, adapter.Operations, adapter.Filter) (string, any, error) {
			return func(ctx context.Context, o adapter.Operations, filter adapter.Filter) (string, any, error) {
				done, err := r.all(ctx, o, filter, dry)
				if err != nil && (dry || done.Matched == 0) {
					return "", nil, err
				}
				return redriveText(done, toTenant, dry), done, err
			}
		}
		found := func(filter adapter.Filter) adapter.Filter { return filter.ForRedrive(toTenant) }
		return p.change(f, found, redrive(true), redrive(false))
	}
	return cmd
}

func redriveText(done *adapter.Redrive, toTenant string, dry bool) string {
	var b strings.Builder
	if dry {
		fmt.Fprintf(&b, "%d of %d deliveries would be sent", done.Sent, done.Matched)
	} else {
		fmt.Fprintf(&b, "%d of %d deliveries are pending now", done.Sent, done.Matched)
	}
	switch {
	case done.Duplicate > 0 && toTenant != "":
		fmt.Fprintf(&b, "; the new tenant has %d already", done.Duplicate)
	case done.Duplicate > 0:
		fmt.Fprintf(&b, "; %d were delivered meanwhile", done.Duplicate)
	}
	for _, reason := range slices.Sorted(maps.Keys(done.Unsendable)) {
		fmt.Fprintf(&b, "; %d stay as they are: %s", done.Unsendable[reason], reason)
	}
	if done.NoPayload > 0 {
		fmt.Fprintf(&b, "; %d have no payload any more, since dead_letters.max_bytes had no room: replay them from the Segment archive", done.NoPayload)
	}
	if done.Damaged > 0 {
		fmt.Fprintf(&b, "; %d have a payload that is damaged in the store, and stay as they are: replay them from the Segment archive", done.Damaged)
	}
	if done.NoConnection > 0 {
		fmt.Fprintf(&b, "; %d are of connections that are not configured", done.NoConnection)
	}
	switch {
	case done.Held > 0 && toTenant != "":
		fmt.Fprintf(&b, "; %d wait for an import job, and are not moved: purge them and replay their archive again", done.Held)
	case done.Held > 0:
		fmt.Fprintf(&b, "; %d wait for an import job: go on with their run by replay --resume", done.Held)
	}
	if done.InHand > 0 {
		fmt.Fprintf(&b, "; %d are in the hands of a server, or have changed meanwhile: repeat it in two minutes", done.InHand)
	}
	for i := range done.OtherTenant {
		m := &done.OtherTenant[i]
		fmt.Fprintf(&b, "; %d stay with the tenant %s, while their connection %s has %s: redrive --to-tenant %s moves them",
			m.Events, m.From, m.Connection, m.To, adapter.TenantAlias(m.To))
	}
	if done.FiresPrograms > 0 && dry {
		fmt.Fprintf(&b, "\n%d of them came for an import job: a redrive sends them one by one, which fires programs and rewards", done.FiresPrograms)
	} else if done.FiresPrograms > 0 {
		fmt.Fprintf(&b, "\n%d of them came for an import job: they are sent one by one, which fires programs and rewards", done.FiresPrograms)
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
	cmd := &cobra.Command{
		Use:   "purge",
		Short: "Delete deliveries with all that is known of them",
		Long: `Purge deletes the deliveries that the filter picks, with payload and history. One
that is pending is never sent then, and one that was delivered is not known any
more: if it comes again it is sent again. It says how many it would delete, and
asks.`,
		Args: cobra.NoArgs,
	}
	f := addChangeFlags(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		purge := func(dry bool) func(context.Context, adapter.Operations, adapter.Filter) (string, any, error) {
			return func(ctx context.Context, o adapter.Operations, filter adapter.Filter) (string, any, error) {
				done, err := o.Purge(ctx, filter, f.limit, dry)
				if err != nil {
					return "", nil, err
				}
				return purgeText(done, dry), done, nil
			}
		}
		found := func(filter adapter.Filter) adapter.Filter { return filter }
		return p.change(f, found, purge(true), purge(false))
	}
	return cmd
}

func purgeText(done *adapter.Purge, dry bool) string {
	var parts []string
	total := 0
	for _, outcome := range adapter.Outcomes {
		if n := done.Purged[outcome]; n > 0 {
			total += n
			parts = append(parts, fmt.Sprintf("%d %s", n, outcome))
		}
	}
	text := fmt.Sprintf("%d deliveries were deleted", total)
	if dry {
		text = fmt.Sprintf("%d deliveries would be deleted", total)
	}
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	if dry && done.Purged[adapter.Pending] > 0 {
		text += "; those that are pending would never be sent"
	}
	return text
}
