package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/admin"
	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/adapter/store"
)

// storeExists reports whether there is a store to look into.
func storeExists(cfg *config.Config) bool {
	if !cfg.Store.IsZero() {
		return true
	}
	_, err := os.Stat(filepath.Join(cfg.DataDir, storeFile))
	return err == nil
}

// openReplays opens what keeps the run: the store, with a dispatcher that delivers
// from it, or a server that does.
func (r *replaying) openReplays(ctx context.Context) (adapter.RunStore, func() error, error) {
	if r.flags.server != "" {
		client, err := r.newServerClient()
		return client, func() error { return nil }, err
	}
	s := r.service
	// This process works for one connection, as a server for itself.
	s.cfg.Connections, s.cfg.Delivery = []config.Connection{*r.conn}, config.DeliveryDurable
	var err error
	if s.log, err = newLogger(config.Log{Level: r.logLevel(), Format: s.cfg.Log.Format}, r.stderr); err != nil {
		return nil, nil, err
	}
	s.events = zap.NewNop() // the report has them, and so has the store
	s.metrics = admin.NewMetrics()
	delivering, err := s.startDelivering(ctx)
	var inUse *store.InUseError
	if errors.As(err, &inUse) {
		return nil, nil, fmt.Errorf("%w; to replay beside a server, hand the events to it: --server http://127.0.0.1:9090, its admin address", err)
	}
	if err != nil {
		return nil, nil, err
	}
	return delivering.store, func() error {
		lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownTimeout)
		defer cancel()
		return errors.Join(delivering.drain(lasting), delivering.close())
	}, nil
}

func (r *replaying) newServerClient() (*admin.Client, error) {
	return newServerClient(r.service.cfg, r.flags.server)
}

// logLevel silences what is no news beside the progress.
func (r *replaying) logLevel() string {
	if level := r.service.cfg.Log.Level; level != "info" {
		return level
	}
	return "warn"
}

// begin makes the run.
func (r *replaying) begin(ctx context.Context, replays adapter.RunStore, spec *replay.Spec) (*adapter.Run, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("write the spec: %w", err)
	}
	return replays.BeginRun(ctx, r.conn.Name, tenantOf(r.conn), text)
}
