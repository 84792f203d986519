package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/store"
)

func (p *program) storeCommand() *cobra.Command {
	cmd := command("store", "Back up, restore, copy and merge stores", `
The subcommands work on the whole store that the configuration describes.

docs/backup.md and docs/move.md describe the steps for SQLite and PostgreSQL.`)
	cmd.AddCommand(p.storeBackupCommand(), p.storeRestoreCommand(), p.storeHoldCommand(),
		p.storeCopyCommand(), p.storeMergeCommand())
	return cmd
}

// storeFlags are the flags that all subcommands of store have.
type storeFlags struct {
	*configFlags
	asJSON bool
}

func (p *program) addStoreFlags(cmd *cobra.Command) *storeFlags {
	f := &storeFlags{configFlags: p.addConfigFlags(cmd)}
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "write JSON on one line")
	return f
}

// restoredFlags are the flags of commands that examine a restored store.
type restoredFlags struct {
	*storeFlags
	confirmFlags
	takenAt string
}

func (p *program) addRestoredFlags(cmd *cobra.Command) *restoredFlags {
	f := &restoredFlags{storeFlags: p.addStoreFlags(cmd)}
	f.confirmFlags.add(cmd)
	cmd.Flags().StringVar(&f.takenAt, "taken-at", "", "`time` of the backup (default: the time of its newest entry)")
	return f
}

// restored returns how the pending events are examined.
func (f *restoredFlags) restored(cfg *config.Config) (store.RestoredOptions, error) {
	taken, err := parseMoment(f.takenAt, time.Now())
	if err != nil {
		return store.RestoredOptions{}, fmt.Errorf("--taken-at: %w", err)
	}
	if taken.After(time.Now()) {
		return store.RestoredOptions{}, errors.New(
			"--taken-at is in the future: write when the backup was taken, or leave it out")
	}
	return store.RestoredOptions{TakenAt: taken, Horizon: cfg.RetryHorizon}, nil
}

// pendingText describes the pending events of a backup, and what happens to them.
func pendingText(found *store.Restored, send bool) string {
	if found.Pending == 0 {
		return "no event is pending"
	}
	text := fmt.Sprintf("%d events are pending", found.Pending)
	if !found.TakenAt.IsZero() {
		text = fmt.Sprintf("of %s, %s ago: %s", found.TakenAt.Format(time.RFC3339),
			time.Since(found.TakenAt).Round(time.Second), text)
	}
	if found.Hold() == 0 {
		return text + "; SaaSquatch knows the keys of those that were delivered after the backup"
	}
	if send {
		return fmt.Sprintf("%s; all are sent, and %d of them count again if they were delivered after the backup",
			text, found.Hold())
	}
	text += fmt.Sprintf("; %d of them are held as dead letters with the reason restored, "+
		"since they could count again:", found.Hold())
	if found.KeyForgotten > 0 {
		text += fmt.Sprintf("\n  %d whose key SaaSquatch may have forgotten since the backup", found.KeyForgotten)
	}
	if found.NoKey > 0 {
		text += fmt.Sprintf("\n  %d without an idempotency key", found.NoKey)
	}
	return text
}

// heldText tells how to send the held events.
func heldText(held int64) string {
	if held == 0 {
		return ""
	}
	return fmt.Sprintf("\n%d events are held: `segment-saasquatch deliveries list --reason restored` shows them, and "+
		"`segment-saasquatch deliveries redrive --reason restored` sends them", held)
}

// storePath returns the path of the SQLite database. For PostgreSQL it returns an error with the remedy.
func storePath(cfg *config.Config, remedy string) (string, error) {
	if !cfg.Store.IsZero() {
		return "", errors.New("the store is PostgreSQL: " + remedy + "; docs/backup.md has more")
	}
	return filepath.Join(cfg.DataDir, storeFile), nil
}

// needStore returns an error if there is no store.
func needStore(cfg *config.Config) error {
	if storeExists(cfg) {
		return nil
	}
	return fmt.Errorf("there is no store in %s: data_dir and store say where the server keeps its events", cfg.DataDir)
}

// countText writes a number for a progress bar.
func countText(n int64) string { return strconv.FormatInt(n, 10) }

// storeFile is the SQLite database in the data directory.
const storeFile = "adapter.db"

// storeOptions returns the location, the limits and the retention of the configured store.
func storeOptions(cfg *config.Config) store.Options {
	return store.Options{
		URL:     cfg.Store,
		Path:    filepath.Join(cfg.DataDir, storeFile),
		Tenants: tenantsOf(cfg),
		Limits: store.Limits{
			Shares: sharesOf(cfg), FreeDisk: cfg.Backlog.MinFreeDisk, DeadLetters: cfg.DeadLetters.MaxBytes,
		},
		Retention: store.Retention{
			Ledger:   cfg.LedgerRetention,
			Dead:     cfg.DeadRetention,
			Payloads: cfg.KeepPayloads,
		},
	}
}

// sharesOf returns the limits of each connection's pending events.
func sharesOf(cfg *config.Config) map[string]store.Share {
	shares := make(map[string]store.Share, len(cfg.Connections))
	for name, share := range cfg.Shares() {
		shares[name] = store.Share{Events: int64(share.MaxEvents), Bytes: share.MaxBytes}
	}
	return shares
}

// tenantsOf returns the names of the tenants in the store, by connection. A name is empty if the configuration
// names no tenant.
func tenantsOf(cfg *config.Config) map[string]string {
	tenants := make(map[string]string, len(cfg.Connections))
	for i := range cfg.Connections {
		conn := &cfg.Connections[i]
		tenants[conn.Name] = ""
		if conn.SaaSquatch.TenantAlias != "" {
			tenants[conn.Name] = tenantOf(conn)
		}
	}
	return tenants
}

// storeExists reports whether the configured store exists. A PostgreSQL store counts as one that exists.
func storeExists(cfg *config.Config) bool {
	if !cfg.Store.IsZero() {
		return true
	}
	_, err := os.Stat(filepath.Join(cfg.DataDir, storeFile))
	return err == nil
}

// openStore opens the configured store. A server may have it open too.
func openStore(ctx context.Context, cfg *config.Config) (*store.Store, error) {
	opts := storeOptions(cfg)
	opts.Shared = true
	opened, err := store.Open(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("%w; data_dir and store say where the server keeps its deliveries", err)
	}
	return opened, nil
}
