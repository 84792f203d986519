package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"segment-saasquatch/adapter/migratecheck"
	"segment-saasquatch/mapping"
)

// maxUnused is how many names of the tenant that the sample does not have are shown;
// with --json they are all there.
const maxUnused = 30

func (p *program) printChecked(found *checked) error {
	out, report, sample := p.stdout, found.Report, found.Sample
	fmt.Fprintf(out, "tenant %s: %d event keys, %d custom fields, %d segments\n", plainLine(found.Tenant), found.EventKeys, found.CustomFields, found.Segments)
	fmt.Fprintf(out, "sample: %d events of %d objects, %d of them with users\n", sample.Events, found.Objects, sample.Upserts)
	if found.More {
		fmt.Fprintln(out, "there are more events: raise --limit, or take a share of all days with --sample")
	}
	if sample.Unnamed > 0 {
		fmt.Fprintf(out, "too many names, or too long ones: in %d events they are not compared\n", sample.Unnamed)
	}
	for _, fault := range found.Damaged {
		fmt.Fprintf(out, "damaged: %s\n", plainLine(fault))
	}

	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	section(table, "EVENT KEYS THE TENANT HAS NEVER SEEN\tEVENTS\tTHE TENANT HAS\tIN SEGMENT", report.EventKeys)
	if len(report.Orders) > 0 {
		fmt.Fprintln(table, "\nORDERS SENT AS OTHER EVENTS\tEVENTS\tTHE TENANT HAS\tIN SEGMENT")
		for _, order := range report.Orders {
			fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", plain(order.Key), order.Events, order.Reserved, plain(order.Event))
		}
	}
	section(table, "EVENTS REJECTED FOR WANT OF A KEY\tEVENTS\tTHE TENANT HAS", report.Keyless)
	section(table, "CUSTOM FIELDS THE TENANT DOES NOT HAVE\tEVENTS\tTHE TENANT HAS", report.CustomFields)
	section(table, "SEGMENTS THE TENANT DOES NOT HAVE\tEVENTS\tTHE TENANT HAS", report.Segments)
	reasons(table, "skipped", sample.Skipped)
	reasons(table, "rejected", sample.Rejected)
	if err := table.Flush(); err != nil {
		return err
	}
	unused(p, report.Unused)
	if found.Differences == 0 {
		_, err := fmt.Fprintln(out, "\nno difference: every name in the sample is one that the tenant has")
		return err
	}
	if len(report.CustomFields)+len(report.Segments) > 0 {
		fmt.Fprintln(out, "\nCustom fields and segments have no setting that renames them: change the traits,")
		fmt.Fprintln(out, "or what in SaaSquatch goes by the other name.")
	}
	if found.Config == "" {
		return nil
	}
	_, err := fmt.Fprintf(out, "\nfor the configuration file (in a file with connections, inside %s):\n\n%s", plainLine(found.Connection), found.Config)
	return err
}

// section prints differences of one kind, if there are any.
func section(table *tabwriter.Writer, header string, list []migratecheck.Missing) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(table, "\n"+header)
	for i := range list {
		m := &list[i]
		similar := plainNames(m.Similar)
		if m.Archived {
			similar = "it, archived"
		}
		fmt.Fprintf(table, "%s\t%d\t%s", plain(m.Name), m.Events, orDash(similar))
		if len(m.From) > 0 {
			fmt.Fprintf(table, "\t%s", plainNames(m.From))
		}
		fmt.Fprintln(table)
	}
}

// plainNames writes names from outside on one line.
func plainNames(names []string) string {
	shown := make([]string, len(names))
	for i, name := range names {
		shown[i] = plain(name)
	}
	return strings.Join(shown, ", ")
}

// reasons prints how many events are not sent, and what that means for a move.
func reasons(table *tabwriter.Writer, outcome string, counts map[mapping.Reason]int64) {
	for i, reason := range slices.Sorted(maps.Keys(counts)) {
		if i == 0 {
			fmt.Fprintf(table, "\n%s\tEVENTS\n", strings.ToUpper(outcome))
		}
		fmt.Fprintf(table, "%s\t%d", reason, counts[reason])
		if text := meaning(reason); text != "" {
			fmt.Fprintf(table, "\t%s", text)
		}
		fmt.Fprintln(table)
	}
}

// meaning says what a reason means for whoever comes from SaaSquatch's integration.
func meaning(reason mapping.Reason) string {
	switch reason {
	case mapping.SkipNoUserID:
		return "SaaSquatch's integration leaves them out too"
	case mapping.SkipOutsideTimeWindow:
		return "see max_age and max_ahead; their names are compared all the same"
	case mapping.RejectEmptyEventKey:
		return "give their names keys in events.keys"
	}
	return ""
}

// unused prints what the tenant has beyond the sample.
func unused(p *program, v migratecheck.Vocabulary) {
	header := "\nin the tenant, and not in the sample:\n"
	for _, of := range []struct {
		kind  string
		names []string
	}{{"event keys", v.EventKeys}, {"custom fields", v.CustomFields}, {"segments", v.Segments}} {
		if len(of.names) == 0 {
			continue
		}
		more := ""
		if n := len(of.names) - maxUnused; n > 0 {
			of.names, more = of.names[:maxUnused], fmt.Sprintf(" and %d more", n)
		}
		fmt.Fprintf(p.stdout, "%s%s: %s%s\n", header, of.kind, plainNames(of.names), more)
		header = ""
	}
}
