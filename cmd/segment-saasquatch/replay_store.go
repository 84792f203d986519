package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/admin"
	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/adapter/store"
)

// openReplays opens the store with a dispatcher that delivers from it, or a client of the server.
func (r *replaying) openReplays(ctx context.Context) (adapter.RunStore, func() error, error) {
	if r.flags.server != "" {
		client, err := newServerClient(r.service.cfg, r.flags.server)
		return client, func() error { return nil }, err
	}
	s := r.service
	// This process is a server for one connection.
	s.cfg.Connections, s.cfg.Delivery = []config.Connection{*r.conn}, config.DeliveryDurable
	var err error
	if s.log, err = newLogger(config.Log{Level: r.logLevel(), Format: s.cfg.Log.Format}, r.stderr); err != nil {
		return nil, nil, err
	}
	s.events = zap.NewNop() // the report and the store have the events
	s.metrics = admin.NewMetrics()
	delivering, err := s.startDelivering(ctx)
	var inUse *store.InUseError
	if errors.As(err, &inUse) {
		return nil, nil, fmt.Errorf("%w; to replay through that server, add its admin address: "+
			"--server http://127.0.0.1:9090", err)
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

// logLevel leaves out informational messages by default: the progress has the news.
func (r *replaying) logLevel() string {
	if level := r.service.cfg.Log.Level; level != "info" {
		return level
	}
	return "warn"
}

// begin begins the run.
func (r *replaying) begin(ctx context.Context, replays adapter.RunStore, spec *replay.Spec) (*adapter.Run, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("write the spec: %w", err)
	}
	return replays.BeginRun(ctx, r.conn.Name, tenantOf(r.conn), text)
}
