package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/admin"
	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/httpserver"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/adapter/webhook"
)

func (p *program) serveCommand() *cobra.Command {
	var file string
	var withSandbox, check bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Receive webhooks and forward their events",
		Long: `Serve listens for Segment's webhooks and forwards their events to SaaSquatch.

With --sandbox it needs no account: events go to a simulated SaaSquatch in the
same process, and both listen on the loopback interface only, unless --listen-addr
says otherwise.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(config.Source{File: file, Env: p.env, Flags: cmd.Flags()})
			if err != nil {
				return err
			}
			s := &service{cfg: cfg, program: p}
			if withSandbox {
				if err := s.useSandbox(); err != nil {
					return failed(err)
				}
				defer s.closeSandbox()
			}
			if err := cfg.Validate(); err != nil {
				return err
			}
			if check {
				return p.reportCheck(cmd.Context(), cfg)
			}
			outliveTerminal()
			return s.serve(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `file`")
	cmd.Flags().BoolVar(&withSandbox, "sandbox", false, "send to a simulated SaaSquatch in this process")
	cmd.Flags().BoolVar(&check, "check", false, "check the configuration and the store, change nothing, and exit")
	config.RegisterFlags(cmd.Flags())
	return cmd
}

// checkTimeout bounds the look at the store.
const checkTimeout = 15 * time.Second

// reportCheck says that the configuration is valid, what is risky about it, and whether a
// server could deliver from the store.
func (p *program) reportCheck(ctx context.Context, cfg *config.Config) error {
	for _, warning := range cfg.Warnings() {
		fmt.Fprintf(p.stderr, "warning: %s\n", warning)
	}
	_, err := fmt.Fprintf(p.stdout, "the configuration is valid: %d connection(s)\n", len(cfg.Connections))
	if err != nil || cfg.Delivery != config.DeliveryDurable {
		return failed(err)
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	notes, err := store.Check(ctx, storeOptions(cfg))
	if err != nil {
		return failed(err)
	}
	if len(notes) == 0 {
		notes = []string{"ready"}
	}
	for _, note := range notes {
		if _, err := fmt.Fprintf(p.stdout, "the store: %s\n", note); err != nil {
			return failed(err)
		}
	}
	return nil
}

// service is one serving process.
type service struct {
	*program
	cfg     *config.Config
	log     *zap.Logger
	events  *zap.Logger      // has a line for every event, whatever the level
	sandbox *embeddedSandbox // nil without --sandbox
	metrics *admin.Metrics
	clock   *adapter.Clock // of all that is accepted and delivered, from startDelivering on
	// memoryLimit is what the process may take, in bytes.
	memoryLimit int64
}

func (s *service) serve(ctx context.Context) (err error) {
	if err := s.openLogs(); err != nil {
		return err
	}
	for _, warning := range s.cfg.Warnings() {
		s.log.Warn(warning)
	}
	s.memoryLimit = heedMemoryLimit()
	s.metrics = admin.NewMetrics()
	s.metrics.WatchLog(s.stderr.Dropped)
	delivering, err := s.startDelivering(ctx)
	if err != nil {
		return failed(err)
	}
	defer func() { err = failed(errors.Join(err, delivering.close())) }()
	delivering.logHeld(ctx, s.log)
	s.lookForOthers(delivering)
	handler, err := s.newHandler(delivering)
	if err != nil {
		return err
	}
	senders, operators := s.boundConnections()
	admins, err := s.startAdmin(delivering, operators)
	if err != nil {
		return err
	}
	defer admins.close()
	server, err := s.newServer(handler, senders)
	if err != nil {
		return failed(err)
	}
	listener, err := net.Listen("tcp", s.cfg.ListenAddr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.cfg.ListenAddr, err)
	}
	serving := make(chan error, 1)
	go func() { serving <- server.Serve(listener) }()
	handler.SetReady(true)
	s.log.Info("serving", zap.Stringer("address", listener.Addr()), zap.String("version", buildVersion()),
		zap.String("delivery", string(s.cfg.Delivery)), zap.Int("connections", len(s.cfg.Connections)))
	if s.sandbox != nil {
		s.printSandbox(listener.Addr())
	}
	select {
	case err := <-serving:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	handler.SetReady(false)
	if s.cfg.ShutdownDelay > 0 {
		s.log.Info("stopping: not ready, still taking requests", zap.Duration("delay_ms", s.cfg.ShutdownDelay))
		select {
		case err := <-serving:
			return fmt.Errorf("serve: %w", err)
		case <-time.After(s.cfg.ShutdownDelay):
		}
	}
	return s.drain(server, delivering)
}

// openLogs makes the log of the process and that of the events. The line of an
// event may be the only trace of one that is rejected or dead, so log.level does
// not silence it.
func (s *service) openLogs() (err error) {
	if s.log, err = newLogger(s.cfg.Log, s.stderr); err != nil {
		return err
	}
	s.events, err = newLogger(config.Log{Level: "info", Format: s.cfg.Log.Format}, s.stderr)
	return err
}

// newHandler builds what receives the events of every connection.
func (s *service) newHandler(d *delivering) (*webhook.Handler, error) {
	connections := make([]webhook.Connection, 0, len(s.cfg.Connections))
	for i := range s.cfg.Connections {
		conn := &s.cfg.Connections[i]
		connections = append(connections, webhook.Connection{
			Name: conn.Name,
			Path: conn.Path,
			Credentials: webhook.Credentials{
				SharedSecrets:              conn.Segment.SharedSecret,
				BearerTokens:               conn.Segment.BearerToken,
				BasicKeys:                  conn.Segment.BasicKey,
				HeaderName:                 conn.Segment.Header.Name,
				HeaderValues:               conn.Segment.Header.Value,
				AllowFirstElementSignature: conn.Segment.AllowFirstElementSignature,
				Insecure:                   s.cfg.Insecure,
			},
			Acceptor: d.acceptors[conn.Name],
		})
	}
	memory := s.cfg.RequestMemory
	if memory == 0 {
		memory = requestMemory(s.memoryLimit)
	}
	return webhook.New(connections, webhook.Options{
		BodyLimit: s.cfg.BodyLimit, Memory: memory, TrustedProxies: s.cfg.TrustedProxies, Ready: d.ready, Log: s.log,
		Observe: func(r webhook.Request) { s.metrics.Request(r.Connection, r.Status, string(r.Reason)) },
	})
}

// Limits of a client's connection. Segment opens a connection for each request
// and sends at most some megabytes, at once.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 16 << 10 // each open connection may fill as much
)

func (s *service) newServer(handler *webhook.Handler, connections int) (*httpserver.Server, error) {
	server, err := httpserver.New(&http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      readTimeout + s.cfg.AnswerBudget + 5*time.Second,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          zap.NewStdLog(s.log.Named("http")),
	}, httpserver.Options{
		// A body that is refused for its length is seldom longer than twice the limit.
		DiscardBytes: max(2*s.cfg.BodyLimit, httpserver.DefaultDiscardBytes),
		Connections:  connections,
		CertFile:     s.cfg.TLS.CertFile, KeyFile: s.cfg.TLS.KeyFile,
		Refused: handler.CountRefused,
		Log:     s.log,
	})
	if err != nil {
		return nil, err
	}
	s.metrics.WatchConnections("listen_addr", server.Connections)
	return server, nil
}

// drainReserve is what attempts under way have of the shutdown timeout at least,
// when requests have used it up.
const drainReserve = 2 * time.Second

// drain lets the requests under way finish, then the attempts, both together
// within the shutdown timeout.
func (s *service) drain(server *httpserver.Server, d *delivering) error {
	s.log.Info("stopping: requests under way finish", zap.Duration("timeout_ms", s.cfg.ShutdownTimeout))
	deadline := time.Now().Add(s.cfg.ShutdownTimeout)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	err := server.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("finish requests: %w", errors.Join(err, server.Close()))
	}
	if latest := time.Now().Add(drainReserve); deadline.Before(latest) {
		deadline = latest
	}
	ctx, cancel = context.WithDeadline(context.Background(), deadline)
	defer cancel()
	err = errors.Join(err, d.drain(ctx))
	if err == nil {
		s.log.Info("stopped")
	}
	return err
}
