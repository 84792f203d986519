package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter"
)

func (p *program) listCommand() *cobra.Command {
	var limit int
	cmd := command("list", "List deliveries, newest first", "")
	f := p.addDeliveriesFlags(cmd)
	f.addFilter()
	f.addJSON()
	cmd.Flags().IntVar(&limit, "limit", 50, "list at most this number of `deliveries`")
	cmd.RunE = func(*cobra.Command, []string) error {
		if limit < 1 {
			return fmt.Errorf("--limit is %d: write a number of at least 1", limit)
		}
		return p.withFilter(f, func(ctx context.Context, o adapter.Operations, filter adapter.Filter) error {
			p.noteScan(ctx, o, filter)
			found, err := o.List(ctx, filter, limit)
			if err != nil {
				return err
			}
			if f.asJSON {
				return writeLines(p.stdout, found)
			}
			if len(found) == 0 && filter.Event != "" {
				fmt.Fprintln(p.stderr, "no delivery is listed: --event takes the name in Segment, --event-key the "+
					"key at SaaSquatch; deliveries of earlier versions have no name")
			}
			return p.printList(found, limit)
		})
	}
	return cmd
}

const momentLayout = "2006-01-02 15:04:05"

func newTable(out io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(out, 0, 0, 2, ' ', 0) }

func (p *program) printList(found []adapter.Delivery, limit int) error {
	table := newTable(p.stdout)
	fmt.Fprintln(table, "ID\tRECEIVED (UTC)\tCONNECTION\tOUTCOME\tREASON\tSTATUS\tATTEMPTS\t"+
		"EVENT\tEVENT KEY\tUSER\tMESSAGE ID")
	for i := range found {
		d := &found[i]
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n",
			d.ID, d.ReceivedAt.UTC().Format(momentLayout), d.Connection, d.Outcome, orDash(string(d.Reason)),
			orDash(statusText(d.Status)), d.Attempts, orDash(plain(d.Event)), orDash(plain(d.EventKey)),
			orDash(plain(d.UserID)), orDash(plain(d.MessageID)))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(found) == limit {
		fmt.Fprintf(p.stderr, "the newest %d; there may be more: raise --limit, or use a filter\n", limit)
	}
	return nil
}

func statusText(status int) string {
	if status == 0 {
		return ""
	}
	return strconv.Itoa(status)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// maxShown is how much of a text from outside a table shows, in characters.
const maxShown = 60

// plain makes a text from outside safe for a terminal and a table.
func plain(text string) string {
	text = plainLine(text)
	if runes := []rune(text); len(runes) > maxShown {
		return string(runes[:maxShown]) + "…"
	}
	return text
}

// plainLine makes a text from outside safe for a terminal, on one line.
func plainLine(text string) string {
	return strings.ReplaceAll(plainText(text), "\n", "·")
}

// plainText makes a text from outside safe for a terminal. It keeps line breaks.
func plainText(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && r != '\n' {
			return '·'
		}
		return r
	}, text)
}

func (p *program) showCommand() *cobra.Command {
	cmd := command("show ID", "Show one delivery with its attempts and payload", "")
	cmd.Args = cobra.ExactArgs(1)
	f := p.addDeliveriesFlags(cmd)
	f.addJSON()
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		id, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number: write the number of a delivery, which list shows", args[0])
		}
		return p.withOperations(f, func(ctx context.Context, o adapter.Operations) error {
			delivery, err := o.Show(ctx, id)
			if err != nil {
				return err
			}
			if f.asJSON {
				return json.NewEncoder(p.stdout).Encode(delivery)
			}
			return p.printDelivery(delivery)
		})
	}
	return cmd
}

func (p *program) printDelivery(d *adapter.Delivery) error {
	table := newTable(p.stdout)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(table, "%s\t%s\n", name, value)
		}
	}
	row("delivery", strconv.FormatInt(d.ID, 10))
	row("connection", d.Connection)
	row("tenant", d.Tenant)
	row("outcome", d.Outcome.String())
	row("reason", string(d.Reason))
	row("detail", plainLine(d.Detail))
	row("status", statusText(d.Status))
	row("message id", plainLine(d.MessageID))
	row("user", plainLine(d.UserID))
	row("account", plainLine(d.AccountID))
	row("event", plainLine(d.Event))
	row("event key", plainLine(d.EventKey))
	row("received", moment(&d.ReceivedAt))
	row("first attempt", moment(d.FirstAttemptAt))
	row("last attempt", moment(d.LastAttemptAt))
	row("next attempt", moment(d.DueAt))
	row("settled", moment(d.SettledAt))
	if d.SettledAt != nil {
		row("lag", d.Lag().Round(time.Millisecond).String())
	}
	row("attempts", strconv.Itoa(d.Attempts))
	if d.Call != 0 {
		row("call", d.Call.String())
	}
	if d.Repeats > 0 {
		row("repeats", strconv.FormatInt(d.Repeats, 10)+", how often replays read the same payload again")
	}
	if d.Ambiguous {
		row("ambiguous", "SaaSquatch may have processed an attempt that failed")
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(d.History) > 0 {
		fmt.Fprintln(p.stdout, "\nfailed attempts")
		for i := range d.History {
			try := &d.History[i]
			took := try.Duration.Round(time.Millisecond)
			fmt.Fprintf(table, "  %d\t%s\t%s\t%s\t%s\t%s\t%s\n", try.Number, moment(&try.At), took,
				orDash(try.Call.String()), orDash(statusText(try.Status)), try.Reason, plainLine(try.Detail))
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	switch {
	case d.PayloadDropped:
		fmt.Fprintln(p.stdout, "\nthe payload was dropped: dead_letters.max_bytes had no room for it; "+
			"the Segment archive has the event")
	case d.PayloadDamaged:
		fmt.Fprintf(p.stdout, "\npayload, damaged in the store: it does not match its checksum\n%s\n",
			plainText(d.PayloadText))
	case d.Payload != nil:
		var indented bytes.Buffer
		if err := json.Indent(&indented, d.Payload, "", "  "); err != nil {
			return err
		}
		fmt.Fprintf(p.stdout, "\npayload\n%s\n", plainText(indented.String()))
	case d.PayloadText != "":
		fmt.Fprintf(p.stdout, "\npayload, which is not JSON\n%s\n", plainText(d.PayloadText))
	}
	return nil
}

func moment(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.000 UTC")
}

func (p *program) statsCommand() *cobra.Command {
	var verify bool
	cmd := command("stats", "Count deliveries", `
Stats reports the running totals and the backlog, which takes little time. With a
filter it also counts the deliveries that the filter picks, by tenant and reason, which
takes time in proportion to the store. --outcome dead,rejected,pending counts the
deliveries that need work.

With --verify it counts every row and compares the numbers with the totals: every
accepted event must have exactly one outcome. Exit code 1 means that the balance does
not hold.`)
	f := p.addDeliveriesFlags(cmd)
	f.addFilter()
	f.addJSON()
	cmd.Flags().BoolVar(&verify, "verify", false, "count every row and check that each event has one outcome")
	cmd.RunE = func(*cobra.Command, []string) error {
		if given := f.givenFilters(); verify && len(given) > 0 {
			return fmt.Errorf("--verify counts every row: leave out --%s", strings.Join(given, ", --"))
		}
		return p.withFilter(f, func(ctx context.Context, o adapter.Operations, filter adapter.Filter) error {
			if verify {
				return p.verify(ctx, o, f.asJSON)
			}
			p.noteScan(ctx, o, filter)
			stats, err := o.Stats(ctx, filter)
			if err != nil {
				return err
			}
			if f.asJSON {
				return json.NewEncoder(p.stdout).Encode(stats)
			}
			return p.printStats(stats, !filter.PicksAll())
		})
	}
	return cmd
}

// printStats writes the totals and the backlog. With counted set, the counted deliveries come first.
func (p *program) printStats(stats *adapter.Stats, counted bool) error {
	table := newTable(p.stdout)
	if counted {
		fmt.Fprintln(table, "CONNECTION\tTENANT\tOUTCOME\tREASON\tEVENTS")
		for _, s := range stats.Deliveries {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\n",
				s.Connection, orDash(s.Tenant), s.Outcome, orDash(string(s.Reason)), s.Events)
		}
		fmt.Fprintln(table)
	}
	fmt.Fprintln(table, "CONNECTION\tACCEPTED\tDELIVERED\tDUPLICATE\tSKIPPED\tREJECTED\tDEAD\tPENDING\t"+
		"PENDING BYTES\tOLDEST")
	oldest := make(map[string]adapter.Backlog)
	for _, b := range stats.Backlog {
		oldest[b.Connection] = b
	}
	for _, t := range stats.Totals {
		fmt.Fprintf(table, "%s\t%d", t.Connection, t.Accepted)
		for _, outcome := range adapter.Outcomes {
			fmt.Fprintf(table, "\t%d", t.Events[outcome])
		}
		b := oldest[t.Connection]
		fmt.Fprintf(table, "\t%d\t%s\n", b.Bytes, orDash(moment(&b.Oldest)))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for i := range stats.Backlog {
		b := &stats.Backlog[i]
		for k := range b.Held {
			h := &b.Held[k]
			fmt.Fprintf(p.stdout, "\n%s: %d pending events of the tenant %s are held: %s; %s\n",
				b.Connection, h.Events, h.Tenant, h.Reason, h.Remedy())
		}
	}
	return nil
}

// errUnbalanced means that the outcomes are fewer or more than the accepted events.
var errUnbalanced = errors.New("the balance does not hold")

func (p *program) verify(ctx context.Context, o adapter.Operations, asJSON bool) error {
	verified, err := o.Verify(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		err = writeLines(p.stdout, verified)
	}
	for i := range verified {
		c := &verified[i]
		if !asJSON {
			parts := make([]string, len(adapter.Outcomes))
			for k, outcome := range adapter.Outcomes {
				parts[k] = fmt.Sprintf("%d %s", c.Events[outcome], outcome)
			}
			fmt.Fprintf(p.stdout, "%s: %d accepted = %s\n", c.Connection, c.Accepted, strings.Join(parts, " + "))
		}
		for _, fault := range c.Faults {
			err = errors.Join(err, fmt.Errorf("%s: %w: %s", c.Connection, errUnbalanced, fault))
		}
	}
	if err == nil && !asJSON {
		fmt.Fprintln(p.stdout, "every row was counted: the balance holds")
	}
	return err
}

func (p *program) exportCommand() *cobra.Command {
	var limit int
	var out string
	var force bool
	cmd := command("export", "Write deliveries with their payloads as JSON, one a line", "")
	f := p.addDeliveriesFlags(cmd)
	f.addFilter()
	cmd.Flags().IntVar(&limit, "limit", 0, "write at most this number of `deliveries`; 0 is no limit")
	cmd.Flags().StringVar(&out, "out", "",
		"write this `file`, which appears once it is complete (default: standard output)")
	cmd.Flags().BoolVar(&force, "force", false, "let --out replace an existing file")
	cmd.RunE = func(*cobra.Command, []string) error {
		if limit < 0 {
			return fmt.Errorf("--limit is %d: write a number, 0 for all", limit)
		}
		file := &outputFile{"--out", out, force}
		if out != "" {
			if err := file.check(nil); err != nil {
				return err
			}
		}
		return p.withFilter(f, func(ctx context.Context, o adapter.Operations, filter adapter.Filter) error {
			p.noteScan(ctx, o, filter)
			export := func(to io.Writer) error {
				buffered := bufio.NewWriter(to)
				lines := json.NewEncoder(buffered)
				err := o.Export(ctx, filter, limit, func(d *adapter.Delivery) error { return lines.Encode(d) })
				return errors.Join(err, buffered.Flush())
			}
			if out == "" {
				return export(p.stdout)
			}
			return file.write(export)
		})
	}
	return cmd
}
