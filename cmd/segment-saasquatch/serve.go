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
	var withSandbox, check bool
	cmd := command("serve", "Receive webhooks and deliver their events", `
Serve listens for Segment's webhooks and delivers their events to SaaSquatch.

With --sandbox it needs no account: events go to a simulated SaaSquatch in the same
process. Then both listen on the loopback interface, unless --listen-addr sets another
address.`)
	f := p.addConfigFlags(cmd)
	cmd.Flags().BoolVar(&withSandbox, "sandbox", false, "send to a simulated SaaSquatch in this process")
	cmd.Flags().BoolVar(&check, "check", false, "check the configuration and the store, change nothing, and exit")
	f.runs(func(cfg *config.Config, _ []string) error {
		s := &service{cfg: cfg, program: p}
		if withSandbox {
			if err := s.useSandbox(); err != nil {
				return failed(err)
			}
			defer s.sandbox.close()
		}
		if err := cfg.Validate(); err != nil {
			return err
		}
		if check {
			return p.reportCheck(cmd.Context(), cfg)
		}
		outliveTerminal()
		return s.serve(cmd.Context())
	})
	return cmd
}

// checkTimeout bounds the check of the store.
const checkTimeout = 15 * time.Second

// reportCheck reports the number of connections of a valid configuration, its risks, and whether a server could
// deliver from the store.
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
	events  *zap.Logger      // has a line for every event, at any log.level
	sandbox *embeddedSandbox // nil without --sandbox
	metrics *admin.Metrics
	clock   *adapter.Clock // of acceptance and delivery; set by startDelivering
	// memoryLimit bounds the memory of the process, in bytes.
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
	stopAdmin, err := s.startAdmin(delivering, operators)
	if err != nil {
		return err
	}
	defer stopAdmin()
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
		s.log.Info("shutdown: not ready, still accepts requests", zap.Duration("delay_ms", s.cfg.ShutdownDelay))
		select {
		case err := <-serving:
			return fmt.Errorf("serve: %w", err)
		case <-time.After(s.cfg.ShutdownDelay):
		}
	}
	return s.drain(server, delivering)
}

// openLogs makes the loggers of the process and of the events. log.level does not silence the lines of events:
// such a line may be the only trace of a rejected or dead event.
func (s *service) openLogs() (err error) {
	if s.log, err = newLogger(s.cfg.Log, s.stderr); err != nil {
		return err
	}
	s.events, err = newLogger(config.Log{Level: "info", Format: s.cfg.Log.Format}, s.stderr)
	return err
}

// newHandler returns the handler of all connections' webhooks.
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
		BodyLimit: s.cfg.BodyLimit, Memory: memory, TrustedProxies: s.cfg.TrustedProxies,
		Ready: d.ready, Log: s.log,
		Observe: func(r webhook.Request) { s.metrics.Request(r.Connection, r.Status, string(r.Reason)) },
	})
}

// Limits of a client's connection. Segment opens a connection for each request, and sends at most some megabytes
// at once.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 16 << 10 // of memory for each open connection
)

// newHTTPServer returns a server with these limits and without a timeout for writing.
func newHTTPServer(handler http.Handler, log *zap.Logger) *http.Server {
	return &http.Server{
		Handler: handler, ErrorLog: zap.NewStdLog(log), MaxHeaderBytes: maxHeaderBytes,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
	}
}

func (s *service) newServer(handler *webhook.Handler, connections int) (*httpserver.Server, error) {
	plain := newHTTPServer(handler, s.log.Named("http"))
	plain.WriteTimeout = readTimeout + s.cfg.AnswerBudget + 5*time.Second
	server, err := httpserver.New(plain, httpserver.Options{
		// Bodies over the limit are seldom longer than twice the limit.
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

// drainReserve is the least time for the attempts in flight, also if the requests have used up the shutdown timeout.
const drainReserve = 2 * time.Second

// drain waits for the requests in flight, and then for the attempts, within the shutdown timeout.
func (s *service) drain(server *httpserver.Server, d *delivering) error {
	s.log.Info("shutdown: waits for the requests in flight", zap.Duration("timeout_ms", s.cfg.ShutdownTimeout))
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
