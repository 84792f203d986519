package main

import (
	"context"
	"fmt"
	"path/filepath"

	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/store"
)

// storeFile is the SQLite database in the data directory.
const storeFile = "adapter.db"

// storeOptions returns where the configured store is and how it is kept.
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

// sharesOf returns what each connection may have pending.
func sharesOf(cfg *config.Config) map[string]store.Share {
	shares := make(map[string]store.Share, len(cfg.Connections))
	for name, share := range cfg.Shares() {
		shares[name] = store.Share{Events: int64(share.MaxEvents), Bytes: share.MaxBytes}
	}
	return shares
}

// tenantsOf returns the names of the tenants in the store, by connection; empty where
// the configuration names no tenant.
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

// openStore opens the configured store beside a server that may have it open.
func openStore(ctx context.Context, cfg *config.Config) (*store.Store, error) {
	opts := storeOptions(cfg)
	opts.Shared = true
	opened, err := store.Open(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("%w; data_dir and store say where the server keeps its deliveries", err)
	}
	return opened, nil
}
