package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"segment-saasquatch/adapter/admin"
	"segment-saasquatch/adapter/httpserver"
)

// adminStop bounds the wait for requests of operators at shutdown.
const adminStop = 2 * time.Second

// startAdmin serves metrics and the admin API until stop is called. Without admin.listen_addr it serves nothing.
func (s *service) startAdmin(d *delivering, connections int) (stop func(), err error) {
	if !s.cfg.Admin.Enabled() {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", s.cfg.Admin.ListenAddr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s for metrics and the admin API: %w; "+
			"set admin.listen_addr to another address, or to none", s.cfg.Admin.ListenAddr, err)
	}
	// There is no timeout for writing: an export may be long.
	log := s.log.Named("admin")
	server, err := httpserver.New(newHTTPServer(httpserver.LoopbackHosts(listener.Addr(), admin.New(admin.Options{
		Operations: d.operations(), Replays: d.replays(), Tenants: d.tenants,
		Tokens: s.cfg.Admin.Token, Metrics: s.metrics, Log: s.log,
	})), log), httpserver.Options{Connections: connections, Log: log})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	s.metrics.WatchConnections("admin.listen_addr", server.Connections)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("serve metrics and the admin API", zap.Error(err))
		}
	}()
	s.log.Info("admin", zap.Stringer("address", listener.Addr()), zap.Bool("api", len(s.cfg.Admin.Token) > 0))
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), adminStop)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		<-done
	}, nil
}
