package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/admin"
	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/mapping"
)

func (p *program) deliveriesCommand() *cobra.Command {
	cmd := command("deliveries", "List, redrive, delete and export deliveries", `
The subcommands work on the events that durable delivery has accepted. They open
the store that the configuration describes, with or without a running server. With
--server they use the admin API of a running server instead.

A filter picks deliveries. Without a filter a command picks all deliveries. A time
is RFC 3339, a date (UTC), or an age such as 2h or 7d.`)
	cmd.AddCommand(p.listCommand(), p.showCommand(), p.statsCommand(),
		p.redriveCommand(), p.purgeCommand(), p.exportCommand())
	return cmd
}

// deliveriesFlags are the flags that all subcommands of deliveries have.
type deliveriesFlags struct {
	*configFlags
	server string
	asJSON bool

	ids                           []int64
	run                           int64
	outcomes                      []string
	connection, tenant, reason    string
	event, eventKey               string
	user, messageID, since, until string
}

func (p *program) addDeliveriesFlags(cmd *cobra.Command) *deliveriesFlags {
	f := &deliveriesFlags{configFlags: p.addConfigFlags(cmd)}
	cmd.Flags().StringVar(&f.server, "server", "", serverUsage)
	return f
}

const serverUsage = "use the server with this admin `URL`; set its token in ADMIN_TOKEN (default: open the store)"

func (f *deliveriesFlags) addJSON() {
	f.cmd.Flags().BoolVar(&f.asJSON, "json", false, "write JSON, one value a line")
}

func (f *deliveriesFlags) addFilter() {
	flags := f.cmd.Flags()
	flags.Int64SliceVar(&f.ids, "id", nil, "pick the deliveries with these `numbers`; none picks any")
	flags.StringSliceVar(&f.outcomes, "outcome", nil,
		"pick these `outcomes`: delivered, duplicate, skipped, rejected, dead or pending (default: any)")
	flags.StringVar(&f.connection, "connection", "", "pick the connection with this `name` (default: any)")
	flags.StringVar(&f.tenant, "tenant", "", "pick events accepted for the tenant with this `alias` (default: any)")
	flags.StringVar(&f.reason, "reason", "", "pick outcomes with this `reason` (default: any)")
	flags.StringVar(&f.event, "event", "",
		"pick events with this `name` in Segment; deliveries of earlier versions have no name (default: any)")
	flags.StringVar(&f.eventKey, "event-key", "", "pick events with this `key` at SaaSquatch (default: any)")
	flags.StringVar(&f.user, "user", "", "pick events with this `userId` (default: any)")
	flags.StringVar(&f.messageID, "message-id", "", "pick events with this `messageId` (default: any)")
	flags.Int64Var(&f.run, "run", 0, "pick the events of the replay with this `number` (default: any)")
	flags.StringVar(&f.since, "since", "", "pick events accepted at this `time` or later (default: any)")
	flags.StringVar(&f.until, "until", "", "pick events accepted before this `time` (default: any)")
}

// givenFilters returns the names of the filters on the command line.
func (f *deliveriesFlags) givenFilters() (names []string) {
	for _, name := range []string{
		"connection", "tenant", "reason", "event", "event-key", "user", "message-id", "run",
		"since", "until", "outcome", "id",
	} {
		if f.cmd.Flags().Changed(name) {
			names = append(names, name)
		}
	}
	return names
}

// filter reads the filter from the flags.
func (f *deliveriesFlags) filter(now time.Time) (filter adapter.Filter, err error) {
	filter = adapter.Filter{
		Connection: f.connection, Reason: mapping.Reason(f.reason), Event: f.event, EventKey: f.eventKey,
		UserID: f.user, MessageID: f.messageID, Run: f.run, Tenant: f.tenant,
	}
	if f.cmd.Flags().Changed("id") {
		filter.IDs = f.ids
	}
	for _, name := range f.givenFilters() {
		if text := f.cmd.Flags().Lookup(name).Value.String(); text == "" || text == "[]" {
			return filter, fmt.Errorf("--%s is empty: leave it out to pick all, or give it a value", name)
		}
	}
	for _, name := range f.outcomes {
		var outcome adapter.Outcome
		if err := outcome.UnmarshalText([]byte(name)); err != nil {
			return filter, fmt.Errorf("--outcome: %w", err)
		}
		filter.Outcomes = append(filter.Outcomes, outcome)
	}
	if filter.Since, err = parseMoment(f.since, now); err != nil {
		return filter, fmt.Errorf("--since: %w", err)
	}
	if filter.Until, err = parseMoment(f.until, now); err != nil {
		return filter, fmt.Errorf("--until: %w", err)
	}
	return filter, nil
}

// parseMoment reads a time: RFC 3339, a date in UTC, or an age, with d for days. An empty text is the zero time.
func parseMoment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	ago := text
	days, isDays := strings.CutSuffix(text, "d")
	if n, err := strconv.Atoi(days); isDays && err == nil && n >= 0 && n <= 100_000 {
		ago = strconv.Itoa(24*n) + "h"
	}
	if d, err := time.ParseDuration(ago); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf(
		"%q is not a time: write 2006-01-02T15:04:05Z, 2006-01-02, or an age such as 2h or 7d", text)
}

// withOperations runs a command on the store, or on the server of --server.
func (p *program) withOperations(f *deliveriesFlags, run func(context.Context, adapter.Operations) error) error {
	ctx := f.cmd.Context()
	operations, closer, err := openOperations(ctx, f)
	if err != nil {
		return err
	}
	err = run(ctx, operations)
	var refused *adapter.RefusedError
	if errors.As(err, &refused) {
		return errors.Join(err, closer.Close())
	}
	return failed(errors.Join(err, closer.Close()))
}

// withFilter runs a command on the deliveries that the filter picks.
func (p *program) withFilter(
	f *deliveriesFlags, run func(context.Context, adapter.Operations, adapter.Filter) error,
) error {
	filter, err := f.filter(time.Now())
	if err != nil {
		return err
	}
	return p.withOperations(f, func(ctx context.Context, o adapter.Operations) error {
		return run(ctx, o, filter)
	})
}

// openOperations opens the store, or a client of the server. The caller closes it.
func openOperations(ctx context.Context, f *deliveriesFlags) (adapter.Operations, io.Closer, error) {
	cfg, err := f.load()
	if err != nil {
		return nil, nil, err
	}
	if f.server != "" {
		client, err := newServerClient(cfg, f.server)
		return client, io.NopCloser(nil), err
	}
	if err := cfg.ValidateMapping(); err != nil {
		return nil, nil, err
	}
	mappers, err := newMappers(cfg)
	if err != nil {
		return nil, nil, err
	}
	opened, err := openStore(ctx, cfg)
	if err != nil {
		return nil, nil, failed(err)
	}
	return delivery.NewOperations(opened, mappers, tenantsOf(cfg)), opened, nil
}

// newMappers returns the mapper of each connection, by its name.
func newMappers(cfg *config.Config) (mappers map[string]*mapping.Mapper, err error) {
	mappers = make(map[string]*mapping.Mapper, len(cfg.Connections))
	for i := range cfg.Connections {
		if mappers[cfg.Connections[i].Name], err = mapping.New(cfg.Connections[i].Mapping); err != nil {
			return nil, err
		}
	}
	return mappers, nil
}

// newServerClient returns a client of the admin API at url, with the configured token.
func newServerClient(cfg *config.Config, url string) (*admin.Client, error) {
	if err := cfg.ValidateAdminToken(); err != nil {
		return nil, err
	}
	var token adapter.Secret
	if len(cfg.Admin.Token) > 0 {
		token = cfg.Admin.Token[0]
	}
	client, err := admin.NewClient(url, token)
	if err != nil {
		return nil, fmt.Errorf("--server: %w", err)
	}
	return client, nil
}

// openRuns opens the runs in the store, or those of the server at url if url is not empty. The caller closes it.
func openRuns(ctx context.Context, cfg *config.Config, url string) (adapter.RunStore, io.Closer, error) {
	if url != "" {
		client, err := newServerClient(cfg, url)
		return client, io.NopCloser(nil), err
	}
	opened, err := openStore(ctx, cfg)
	if err != nil {
		return nil, nil, failed(err)
	}
	return opened, opened, nil
}

// noteScan warns that a filter reads many deliveries. It ignores errors: the operation itself reports them.
func (p *program) noteScan(ctx context.Context, o adapter.Operations, filter adapter.Filter) {
	scan, err := o.Scans(ctx, filter)
	if err != nil || scan.Deliveries == 0 {
		return
	}
	remedy := "; add --since"
	switch {
	case scan.Indexing:
		remedy = ", because the server still builds the index for an earlier version's deliveries; " +
			"add --since, or try it later"
	case !filter.Since.IsZero() || !filter.Until.IsZero():
		remedy = "; a shorter time range is faster"
	}
	fmt.Fprintf(p.stderr, "note: this scans up to %d deliveries%s\n", scan.Deliveries, remedy)
}
