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
	cmd := command("merge-tenants OLD NEW", "Merge the deliveries of a tenant that moved to another host", `
Merge-tenants gives the ledger, the dead letters, the runs and the pending events of the
tenant OLD to the tenant NEW. Use it when both hosts are the same SaaSquatch. Then an
event that was delivered through one host is a duplicate at the other. Write OLD and NEW
as the server's warning at its start and deliveries list --json do: the base URL and the
alias, such as https://app.referralsaasquatch.com/acme. NEW must be the tenant of a
configured connection.

Merge-tenants works with or without a running server. It reports the number of
deliveries, and asks for confirmation. If it is interrupted, run it again to go on. It
cannot be undone.`)
	cmd.Args = cobra.ExactArgs(2)
	m := &merging{program: p, storeFlags: p.addStoreFlags(cmd)}
	m.confirm.add(cmd)
	m.runs(func(cfg *config.Config, args []string) error {
		m.cfg, m.from, m.to = cfg, args[0], args[1]
		if err := cfg.ValidateMapping(); err != nil {
			return err
		}
		return m.run(cmd.Context())
	})
	return cmd
}

// merging is one run of merge-tenants.
type merging struct {
	*program
	*storeFlags
	confirm  confirmFlags
	cfg      *config.Config
	from, to string
}

// mergeReport is the report of a merge.
type mergeReport struct {
	From store.TenantEvents `json:"from"`
	To   store.TenantEvents `json:"to"`
	Done bool               `json:"done"`
}

func (m *merging) run(ctx context.Context) error {
	tenants := tenantsOf(m.cfg)
	configured := slices.Compact(slices.Sorted(maps.Values(tenants)))
	if !slices.Contains(configured, m.to) {
		return fmt.Errorf("NEW is %q, which is not the tenant of a connection: the configuration has %s",
			m.to, strings.Join(configured, ", "))
	}
	if m.from == m.to || slices.Contains(configured, m.from) {
		return fmt.Errorf("OLD is %q, which is the tenant of a connection: its events go there", m.from)
	}
	if err := errors.Join(m.canConfirm(&m.confirm), needStore(m.cfg)); err != nil {
		return err
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
	return m.carryOut(ctx, &m.confirm, m.asJSON, func(dry bool) (string, any, error) {
		if dry {
			text := fmt.Sprintf("%s has %d settled and %d pending deliveries; %s has %d and %d", m.from,
				report.From.Settled, report.From.Pending, m.to, report.To.Settled, report.To.Pending)
			move := adapter.TenantMove{From: m.from, To: m.to}
			if warning := move.Warning(); warning != "" && report.From.Pending > 0 {
				text += "\n" + warning
			}
			return text, report, nil
		}
		progress, end := m.showCount("merged", countText)
		_, err := s.MergeSettled(ctx, m.from, m.to, func(n int64) { progress(n, report.From.Settled) })
		end()
		if err != nil {
			return "", nil, err
		}
		if err := m.movePending(ctx, s, tenants); err != nil {
			return "", nil, err
		}
		report, err := m.counted(ctx, s)
		if err != nil {
			return "", nil, err
		}
		report.Done = true
		return fmt.Sprintf("%s has %d settled and %d pending deliveries now", m.to,
			report.To.Settled, report.To.Pending), report, nil
	})
}

// counted counts the deliveries of both tenants.
func (m *merging) counted(ctx context.Context, s *store.Store) (report mergeReport, err error) {
	if report.From, err = s.EventsOf(ctx, m.from); err != nil {
		return report, err
	}
	report.To, err = s.EventsOf(ctx, m.to)
	return report, err
}

// movePending gives the pending events to the new tenant. Events that its ledger has are duplicates.
func (m *merging) movePending(ctx context.Context, s *store.Store, tenants map[string]string) error {
	mappers, err := newMappers(m.cfg)
	if err != nil {
		return err
	}
	moving := redriving{program: m.program, toTenant: adapter.TenantAlias(m.to), progress: progressNone}
	filter := adapter.Filter{Tenant: m.from, Outcomes: []adapter.Outcome{adapter.Pending}}
	_, err = moving.all(ctx, delivery.NewOperations(s, mappers, tenants), filter, false)
	return err
}
