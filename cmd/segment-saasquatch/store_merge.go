package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/store"
)

func (p *program) storeMergeCommand() *cobra.Command {
	var dry, yes bool
	cmd := &cobra.Command{
		Use:   "merge-tenants OLD NEW",
		Short: "Join the deliveries of a tenant that was reached under another host",
		Long: `Merge-tenants has the ledger, the dead letters, the runs and the pending events of the
tenant OLD belong to the tenant NEW. Use it when SaaSquatch is the same under both hosts,
so that what was delivered to one is a duplicate at the other. OLD and NEW are names as
in the warning at the start of the server and in deliveries list --json: the base URL and
the alias, such as https://app.referralsaasquatch.com/acme. NEW has to be the tenant of a
configured connection.

It works beside a running server or without one, says how many deliveries there are, and
asks. One that is interrupted goes on when it is run again. It cannot be undone.`,
		Args: cobra.ExactArgs(2),
	}
	f := addStoreFlags(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, and do nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		cfg, err := p.storeConfig(f)
		if err != nil {
			return err
		}
		if err := cfg.ValidateMapping(); err != nil {
			return err
		}
		m := merging{program: p, flags: f, cfg: cfg, from: args[0], to: args[1], dry: dry, yes: yes}
		return m.run(cmd.Context())
	}
	return cmd
}

// merging is one run of merge-tenants.
type merging struct {
	*program
	flags    *storeFlags
	cfg      *config.Config
	from, to string
	dry, yes bool
}

// mergeReport is what is told of a merge.
type mergeReport struct {
	From store.TenantEvents `json:"from"`
	To   store.TenantEvents `json:"to"`
	Done bool               `json:"done"`
}

func (m *merging) run(ctx context.Context) error {
	tenants := tenantsOf(m.cfg)
	configured := slices.Compact(slices.Sorted(maps.Values(tenants)))
	if !slices.Contains(configured, m.to) {
		return fmt.Errorf("NEW is %q, which is the tenant of no connection: the configuration has %s",
			m.to, strings.Join(configured, ", "))
	}
	if m.from == m.to || slices.Contains(configured, m.from) {
		return fmt.Errorf("OLD is %q, which is the tenant of a connection: its events go there", m.from)
	}
	if err := m.canConfirm(m.yes, m.dry); err != nil {
		return err
	}
	if !storeExists(m.cfg) {
		return fmt.Errorf("there is no store in %s: data_dir and store say where the server keeps its events", m.cfg.DataDir)
	}
	s, err := openStore(ctx, m.cfg)
	if err != nil {
		return failed(err)
	}
	return failed(errors.Join(m.merge(ctx, s, tenants), s.Close()))
}

func (m *merging) merge(ctx context.Context, s *store.Store, tenants map[string]string) error {
	report, err := m.counted(ctx, s)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s has %d settled deliveries, and %d that are pending; %s has %d and %d", m.from,
		report.From.Settled, report.From.Pending, m.to, report.To.Settled, report.To.Pending)
	move := adapter.TenantMove{From: m.from, To: m.to}
	if warning := move.Warning(); warning != "" && report.From.Pending > 0 {
		text += "\n" + warning
	}
	if m.dry {
		return m.report(text, report, m.flags.asJSON)
	}
	if !m.yes {
		if err := m.ask(ctx, text); err != nil {
			return err
		}
	}
	progress, end := m.progressOf("merged", func(n int64) string { return fmt.Sprint(n) })
	_, err = s.MergeSettled(ctx, m.from, m.to, func(n int64) { progress(n, report.From.Settled) })
	end()
	if err != nil {
		return err
	}
	if err := m.movePending(ctx, s, tenants); err != nil {
		return err
	}
	if report, err = m.counted(ctx, s); err != nil {
		return err
	}
	report.Done = true
	return m.report(fmt.Sprintf("%s has %d settled deliveries now, and %d that are pending", m.to,
		report.To.Settled, report.To.Pending), report, m.flags.asJSON)
}

// counted counts the deliveries of both tenants.
func (m *merging) counted(ctx context.Context, s *store.Store) (report mergeReport, err error) {
	if report.From, err = s.EventsOf(ctx, m.from); err != nil {
		return report, err
	}
	report.To, err = s.EventsOf(ctx, m.to)
	return report, err
}

// movePending has the pending events go to the new tenant. Those that its ledger knows are
// duplicates.
func (m *merging) movePending(ctx context.Context, s *store.Store, tenants map[string]string) error {
	mappers, err := newMappers(m.cfg)
	if err != nil {
		return err
	}
	moving := redriving{toTenant: adapter.TenantAlias(m.to), progress: progressNone, stderr: m.stderr}
	filter := adapter.Filter{Tenant: m.from, Outcomes: []adapter.Outcome{adapter.Pending}}
	_, err = moving.all(ctx, delivery.NewOperations(s, mappers, tenants), filter, false)
	return err
}
