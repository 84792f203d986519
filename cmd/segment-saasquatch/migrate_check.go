package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/migratecheck"
	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/adapter/saasquatch"
	"segment-saasquatch/mapping"
)

// migrateFlags are those of migrate-check.
type migrateFlags struct {
	cmd              *cobra.Command
	file, connection string
	from, to, sample string
	sources          []string
	limit            int64
	asJSON           bool
}

func (p *program) migrateCheckCommand() *cobra.Command {
	f := &migrateFlags{}
	cmd := &cobra.Command{
		Use:   "migrate-check SOURCE…",
		Short: "Compare the names that the configuration sends with those the tenant has",
		Long: `Migrate-check is for a move from SaaSquatch's own Segment integration. It asks the
tenant for the event keys, custom fields and segments it has, maps the events of an
archive (files, directories, globs, - for standard input, or buckets, as replay takes
them), and shows which names would be new, with the lines of the configuration
that make them those the tenant knows. It sends no event, and stores nothing.

Exit codes: 0 no difference, 1 differences or a failure, 2 wrong command line or
configuration, 130 interrupted.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return p.migrateCheck(cmd.Context(), f, args) },
	}
	f.cmd = cmd
	flags := cmd.Flags()
	flags.StringVar(&f.file, "config", "", "configuration `file`")
	flags.StringVar(&f.connection, "connection", "", "`name` of the connection to check, if there are several")
	flags.StringVar(&f.from, "from", "", "first `day` on which Segment received the events (UTC)")
	flags.StringVar(&f.to, "to", "", "last `day` on which Segment received the events (UTC)")
	flags.StringSliceVar(&f.sources, "source", nil, "`ids` of Segment sources to read")
	flags.StringVar(&f.sample, "sample", "", "`share` of the events to take, such as 1%; the same ones every time (default: all)")
	flags.Int64Var(&f.limit, "limit", 100_000, "stop after so many `events`; 0 for all")
	flags.BoolVar(&f.asJSON, "json", false, "write JSON on one line")
	config.RegisterFlags(flags)
	return cmd
}

// spec reads the flags that pick events, as those of a replay.
func (f *migrateFlags) spec(ctx context.Context, args []string, now time.Time) (*replay.Spec, error) {
	picked := replayFlags{from: f.from, to: f.to, sources: f.sources, sample: f.sample, limit: f.limit, via: string(replay.ViaAPI), integrations: replay.DefaultIntegrations}
	return picked.spec(ctx, args, now)
}

// checked is what migrate-check finds.
type checked struct {
	Connection string `json:"connection"`
	Tenant     string `json:"tenant"`
	// EventKeys, CustomFields and Segments are how many the tenant has.
	EventKeys    int `json:"tenant_event_keys"`
	CustomFields int `json:"tenant_custom_fields"`
	Segments     int `json:"tenant_segments"`
	// Sample is what the configuration makes of the events, of so many objects. More
	// says that --limit ended it, Damaged names objects that could not be read to
	// their ends.
	Sample  *migratecheck.Survey `json:"sample"`
	Objects int64                `json:"objects"`
	More    bool                 `json:"more,omitempty"`
	Damaged []string             `json:"damaged,omitempty"`

	Differences int                  `json:"differences"`
	Report      *migratecheck.Report `json:"report"`
	// Config is lines for the configuration file.
	Config string `json:"config"`
}

func (p *program) migrateCheck(ctx context.Context, f *migrateFlags, args []string) error {
	now := time.Now()
	spec, err := f.spec(ctx, args, now)
	if err != nil {
		return err
	}
	cfg, err := config.Load(config.Source{File: f.file, Env: p.env, Flags: f.cmd.Flags()})
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
	// The tenant first: whether the key is right shows before the archive is read.
	tenant, err := askVocabulary(ctx, conn)
	if err != nil {
		return endOf(ctx, err)
	}
	found := &checked{
		Connection: conn.Name, Tenant: conn.SaaSquatch.TenantAlias,
		EventKeys: len(tenant.EventKeys), CustomFields: len(tenant.CustomFields), Segments: len(tenant.Segments),
		Sample: migratecheck.NewSurvey(),
	}
	if err := p.survey(ctx, spec, mapper, now, found); err != nil {
		return endOf(ctx, err)
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
		return failed(fmt.Errorf("differences between what would be sent and what the tenant has: %d", found.Differences))
	}
	return nil
}

// endOf tells a failure from an end that was asked for.
func endOf(ctx context.Context, err error) error {
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
func (p *program) survey(ctx context.Context, spec *replay.Spec, mapper *mapping.Mapper, now time.Time, found *checked) error {
	opened, err := archive.Open(ctx, spec.Sources, archive.Options{Stdin: p.stdin, From: spec.From, To: spec.To, Sources: spec.SourceIDs})
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
