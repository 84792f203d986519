package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/migratecheck"
	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/adapter/saasquatch"
	"segment-saasquatch/mapping"
)

// migrateFlags are the flags of migrate-check.
type migrateFlags struct {
	replayFlags // only the flags that pick events and a connection
	asJSON      bool
}

func (p *program) migrateCheckCommand() *cobra.Command {
	f := &migrateFlags{}
	cmd := command("migrate-check SOURCE…", "Compare the names to send with the names the tenant has", `
Migrate-check helps to replace SaaSquatch's own Segment integration. It asks the tenant
for its event keys, custom fields and segments, and maps the events of an archive. A
SOURCE is a file, a directory, a glob, - for standard input, or a bucket, as in replay.
Migrate-check shows the names that would be new to the tenant, and the lines of
configuration that change them to names the tenant has. It sends and stores nothing.

Exit codes: 0 no difference, 1 differences or a failure, 2 wrong command line or
configuration, 130 interrupted.`)
	cmd.Args = cobra.MinimumNArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return p.migrateCheck(cmd.Context(), f, args) }
	f.replayFlags = replayFlags{
		configFlags: p.addConfigFlags(cmd), integrations: replay.DefaultIntegrations,
		given: replay.Spec{Via: replay.ViaAPI},
	}
	f.addArchiveFlags(100_000)
	cmd.Flags().StringVar(&f.connection, "connection", "", "check the connection `name` (default: the only one)")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "write JSON on one line")
	return cmd
}

// checked is the result of migrate-check.
type checked struct {
	Connection string `json:"connection"`
	Tenant     string `json:"tenant"`
	// EventKeys, CustomFields and Segments are how many of each the tenant has.
	EventKeys    int `json:"tenant_event_keys"`
	CustomFields int `json:"tenant_custom_fields"`
	Segments     int `json:"tenant_segments"`
	// Sample has the results of the mapping.
	Sample  *migratecheck.Survey `json:"sample"`
	Objects int64                `json:"objects"`           // read to their ends
	More    bool                 `json:"more,omitempty"`    // --limit ended the sample
	Damaged []string             `json:"damaged,omitempty"` // objects not read to their ends

	Differences int                  `json:"differences"`
	Report      *migratecheck.Report `json:"report"`
	Config      string               `json:"config"` // lines for the configuration file
}

func (p *program) migrateCheck(ctx context.Context, f *migrateFlags, args []string) error {
	now := time.Now()
	spec, err := f.spec(ctx, args, now)
	if err != nil {
		return err
	}
	cfg, err := f.load()
	if err != nil {
		return err
	}
	if err := cfg.ValidateTenants(); err != nil {
		return err
	}
	conn, err := pickConnection(cfg, f.connection)
	if err != nil {
		return err
	}
	mapper, err := mapping.New(conn.Mapping)
	if err != nil {
		return err
	}
	// The tenant comes first: a wrong API key shows before the archive is read.
	tenant, err := askVocabulary(ctx, conn)
	if err != nil {
		return ended(ctx, err)
	}
	found := &checked{
		Connection: conn.Name, Tenant: conn.SaaSquatch.TenantAlias,
		EventKeys: len(tenant.EventKeys), CustomFields: len(tenant.CustomFields), Segments: len(tenant.Segments),
		Sample: migratecheck.NewSurvey(),
	}
	if err := p.survey(ctx, spec, mapper, now, found); err != nil {
		return ended(ctx, err)
	}
	found.Report = migratecheck.Compare(found.Sample, &conn.Mapping, tenant)
	found.Differences, found.Config = found.Report.Differences(), found.Report.Config()
	if f.asJSON {
		err = json.NewEncoder(p.stdout).Encode(found)
	} else {
		err = p.printChecked(found)
	}
	switch {
	case err != nil:
		return failed(fmt.Errorf("write the result: %w", err))
	case len(found.Damaged) > 0:
		return failed(fmt.Errorf("%d objects could not be read to their ends", len(found.Damaged)))
	case found.Differences > 0:
		return failed(fmt.Errorf("differences between the names to send and the names the tenant has: %d",
			found.Differences))
	}
	return nil
}

// ended returns errInterrupted once ctx has ended, otherwise a failure.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	return failed(err)
}

// askVocabulary asks the tenant for its names.
func askVocabulary(ctx context.Context, conn *config.Connection) (*migratecheck.Vocabulary, error) {
	importer, err := saasquatch.NewImporter(clientOptions(conn))
	if err != nil {
		return nil, err
	}
	var v migratecheck.Vocabulary
	if v.EventKeys, err = importer.EventKeys(ctx); err != nil {
		return nil, err
	}
	if v.CustomFields, err = importer.CustomFields(ctx); err != nil {
		return nil, err
	}
	v.Segments, v.Archived, err = importer.Segments(ctx)
	return &v, err
}

// survey maps the events of the archive.
func (p *program) survey(
	ctx context.Context, spec *replay.Spec, mapper *mapping.Mapper, now time.Time, found *checked,
) error {
	opened, err := archive.Open(ctx, spec.Sources, archive.Options{
		Stdin: p.stdin, From: spec.From, To: spec.To, Sources: spec.SourceIDs,
	})
	if err != nil {
		return fmt.Errorf("open the archive: %w", err)
	}
	reader := opened.Read(ctx, archive.ReadOptions{})
	selects := spec.Filter.Selector(nil)
	for !found.More {
		block, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(fmt.Errorf("read the archive: %w", err), reader.Close(), opened.Close())
		}
		for line := range block.Lines() {
			if spec.Limit > 0 && found.Sample.Events >= spec.Limit {
				found.More = true
				break
			}
			if line.TooLong {
				found.Sample.Add("", &mapping.Result{Kind: mapping.KindReject, Reason: mapping.RejectInvalidJSON})
				continue
			}
			found.Sample.Take(mapper, line.Text, now, selects)
		}
		switch {
		case !block.End || found.More:
		case block.Err != nil:
			found.Damaged = append(found.Damaged, block.Object.Key+": "+block.Err.Error())
		default:
			found.Objects++
		}
		block.Release()
	}
	return errors.Join(reader.Close(), opened.Close())
}

// maxUnused is how many of the tenant's names that the sample lacks are shown. --json has all of them.
const maxUnused = 30

func (p *program) printChecked(found *checked) error {
	out, report, sample := p.stdout, found.Report, found.Sample
	fmt.Fprintf(out, "tenant %s: %d event keys, %d custom fields, %d segments\n",
		plainLine(found.Tenant), found.EventKeys, found.CustomFields, found.Segments)
	fmt.Fprintf(out, "sample: %d events of %d objects, %d of them with users\n",
		sample.Events, found.Objects, sample.Upserts)
	if found.More {
		fmt.Fprintln(out, "there are more events: raise --limit, or use --sample for a share of all days")
	}
	if sample.Unnamed > 0 {
		fmt.Fprintf(out, "the names of %d events are not compared: they are too many, or too long\n", sample.Unnamed)
	}
	for _, fault := range found.Damaged {
		fmt.Fprintf(out, "damaged: %s\n", plainLine(fault))
	}

	table := newTable(out)
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
		_, err := fmt.Fprintln(out, "\nno difference: the tenant has every name in the sample")
		return err
	}
	if len(report.CustomFields)+len(report.Segments) > 0 {
		fmt.Fprintln(out, "\nNo setting renames custom fields and segments: change the traits in Segment,")
		fmt.Fprintln(out, "or the names in SaaSquatch.")
	}
	if found.Config == "" {
		return nil
	}
	_, err := fmt.Fprintf(out, "\nfor the configuration file (in a file with connections, inside %s):\n\n%s",
		plainLine(found.Connection), found.Config)
	return err
}

// section prints the differences of one kind, if there are any.
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

// plainNames makes names from outside safe for one line of a terminal.
func plainNames(names []string) string {
	shown := make([]string, len(names))
	for i, name := range names {
		shown[i] = plain(name)
	}
	return strings.Join(shown, ", ")
}

// reasons prints why events are not sent, how many, and the meaning of the reason for a migration.
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

// meaning explains a reason to a user of SaaSquatch's integration.
func meaning(reason mapping.Reason) string {
	switch reason {
	case mapping.SkipNoUserID:
		return "SaaSquatch's integration leaves them out too"
	case mapping.SkipOutsideTimeWindow:
		return "see max_age and max_ahead; the names are compared nevertheless"
	case mapping.RejectEmptyEventKey:
		return "give their names keys in events.keys"
	}
	return ""
}

// unused prints the names of the tenant that the sample lacks.
func unused(p *program, v migratecheck.Vocabulary) {
	header := "\nin the tenant, but not in the sample:\n"
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
