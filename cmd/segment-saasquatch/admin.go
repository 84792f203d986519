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

// adminServer serves operators, nil if it is not wanted.
type adminServer struct {
	server *httpserver.Server
	done   chan struct{}
}

// adminStop is how long operators' requests may take to finish at the end.
const adminStop = 2 * time.Second

// startAdmin listens for operators.
func (s *service) startAdmin(d *delivering, connections int) (*adminServer, error) {
	if !s.cfg.Admin.Enabled() {
		return nil, nil
	}
	listener, err := net.Listen("tcp", s.cfg.Admin.ListenAddr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s for metrics and the admin API: %w; set admin.listen_addr to another address, or to none",
			s.cfg.Admin.ListenAddr, err)
	}
	server, err := httpserver.New(&http.Server{
		Handler: httpserver.LoopbackHosts(listener.Addr(), admin.New(admin.Options{
			Operations: d.operations(), Replays: d.replays(), Tenants: d.tenants,
			Tokens: s.cfg.Admin.Token, Metrics: s.metrics, Log: s.log,
		})),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout, // there is no limit on writing: an export takes its time
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          zap.NewStdLog(s.log.Named("admin")),
	}, httpserver.Options{Connections: connections, Log: s.log.Named("admin")})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	s.metrics.WatchConnections("admin.listen_addr", server.Connections)
	a := &adminServer{server: server, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		if err := a.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("serve operators", zap.Error(err))
		}
	}()
	s.log.Info("admin", zap.Stringer("address", listener.Addr()), zap.Bool("api", len(s.cfg.Admin.Token) > 0))
	return a, nil
}

func (a *adminServer) close() {
	if a == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminStop)
	defer cancel()
	if a.server.Shutdown(ctx) != nil {
		_ = a.server.Close()
	}
	<-a.done
}
