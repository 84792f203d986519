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
		URL:    cfg.Store,
		Path:   filepath.Join(cfg.DataDir, storeFile),
		Limits: store.Limits{Events: int64(cfg.Backlog.MaxEvents), Bytes: cfg.Backlog.MaxBytes, FreeDisk: cfg.Backlog.MinFreeDisk},
		Retention: store.Retention{
			Ledger:   cfg.LedgerRetention,
			Dead:     cfg.DeadRetention,
			Payloads: cfg.KeepPayloads,
		},
	}
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
