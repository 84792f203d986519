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
	cmd := &cobra.Command{
		Use:   "deliveries",
		Short: "Look at deliveries, send them again, delete and export them",
		Long: `Deliveries works on the events that durable delivery has accepted: beside a running
server, or while there is none, on the store that the same configuration describes;
or with --server through the admin API of a running server.

A filter picks events; without one all are picked. Times are RFC 3339, a date, or
how long ago: 2h, 7d.`,
	}
	cmd.AddCommand(p.listCommand(), p.showCommand(), p.statsCommand(), p.redriveCommand(), p.purgeCommand(), p.exportCommand())
	return cmd
}

// deliveriesFlags are those that all these commands have.
type deliveriesFlags struct {
	cmd    *cobra.Command
	file   string
	server string
	asJSON bool

	ids                               []int64
	run                               int64
	outcomes                          []string
	connection, reason                string
	event, eventKey                   string
	user, messageID, since, untilText string
	tenant                            string
}

func addDeliveriesFlags(cmd *cobra.Command) *deliveriesFlags {
	f := &deliveriesFlags{cmd: cmd}
	flags := cmd.Flags()
	flags.StringVar(&f.file, "config", "", "configuration `file` of the server")
	flags.StringVar(&f.server, "server", "", "`URL` of a server's admin address; ADMIN_TOKEN opens it")
	config.RegisterFlags(flags)
	return f
}

func (f *deliveriesFlags) addJSON() {
	f.cmd.Flags().BoolVar(&f.asJSON, "json", false, "write JSON, one value a line")
}

func (f *deliveriesFlags) addFilter() {
	flags := f.cmd.Flags()
	flags.Int64SliceVar(&f.ids, "id", nil, "`numbers` of deliveries")
	flags.StringSliceVar(&f.outcomes, "outcome", nil, "`outcomes`: delivered, duplicate, skipped, rejected, dead or pending")
	flags.StringVar(&f.connection, "connection", "", "`name` of the connection")
	flags.StringVar(&f.tenant, "tenant", "", "`alias` of the tenant that the events were accepted for")
	flags.StringVar(&f.reason, "reason", "", "`reason` of the outcome")
	flags.StringVar(&f.event, "event", "", "`name` of the events, exactly as in Segment; older deliveries have none")
	flags.StringVar(&f.eventKey, "event-key", "", "`key` of the events at SaaSquatch")
	flags.StringVar(&f.user, "user", "", "`userId`")
	flags.StringVar(&f.messageID, "message-id", "", "`messageId`")
	flags.Int64Var(&f.run, "run", 0, "`number` of the replay that brought the events")
	flags.StringVar(&f.since, "since", "", "accepted at this `time` or later")
	flags.StringVar(&f.untilText, "until", "", "accepted before this `time`")
}

// givenFilters returns the names of the filter's flags that were given.
func (f *deliveriesFlags) givenFilters() (names []string) {
	for _, name := range []string{"connection", "tenant", "reason", "event", "event-key", "user", "message-id", "run", "since", "until", "outcome", "id"} {
		if f.cmd.Flags().Changed(name) {
			names = append(names, name)
		}
	}
	return names
}

// filter reads the filter's flags.
func (f *deliveriesFlags) filter(now time.Time) (filter adapter.Filter, err error) {
	filter = adapter.Filter{
		Connection: f.connection, Reason: mapping.Reason(f.reason), Event: f.event, EventKey: f.eventKey, UserID: f.user, MessageID: f.messageID, Run: f.run, Tenant: f.tenant,
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
	if filter.Until, err = parseMoment(f.untilText, now); err != nil {
		return filter, fmt.Errorf("--until: %w", err)
	}
	return filter, nil
}

// parseMoment reads a time: RFC 3339, a date in UTC, or how long ago, with d for
// days. Empty is the zero time.
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
	return time.Time{}, fmt.Errorf("%q is no time: write 2006-01-02T15:04:05Z, 2006-01-02, or how long ago, such as 2h or 7d", text)
}

// operations opens the store, or a way to the server. Whoever gets them closes.
func (p *program) operations(ctx context.Context, f *deliveriesFlags) (adapter.Operations, io.Closer, error) {
	cfg, err := config.Load(config.Source{File: f.file, Env: p.env, Flags: f.cmd.Flags()})
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

// newMappers returns the mapping of each connection, by its name.
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

// withOperations runs a command on the store or a server.
func (p *program) withOperations(f *deliveriesFlags, run func(context.Context, adapter.Operations) error) error {
	ctx := f.cmd.Context()
	operations, closer, err := p.operations(ctx, f)
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
