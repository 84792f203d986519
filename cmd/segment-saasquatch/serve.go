package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/saasquatch"
	"segment-saasquatch/adapter/webhook"
	"segment-saasquatch/mapping"
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
				return p.reportCheck(cfg)
			}
			return s.serve(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `file`")
	cmd.Flags().BoolVar(&withSandbox, "sandbox", false, "send to a simulated SaaSquatch in this process")
	cmd.Flags().BoolVar(&check, "check", false, "check the configuration and exit")
	config.RegisterFlags(cmd.Flags())
	return cmd
}

// reportCheck says that the configuration is valid, and what is risky about it.
func (p *program) reportCheck(cfg *config.Config) error {
	for _, warning := range cfg.Warnings() {
		fmt.Fprintf(p.stderr, "warning: %s\n", warning)
	}
	_, err := fmt.Fprintf(p.stdout, "the configuration is valid: %d connection(s)\n", len(cfg.Connections))
	return failed(err)
}

// service is one serving process.
type service struct {
	*program
	cfg     *config.Config
	log     *zap.Logger
	sandbox *embeddedSandbox // nil without --sandbox
	direct  []*adapter.Direct
}

func (s *service) serve(ctx context.Context) (err error) {
	if s.log, err = newLogger(s.cfg.Log, s.stderr); err != nil {
		return err
	}
	defer func() { _ = s.log.Sync() }() // nothing to do about a terminal that cannot sync
	for _, warning := range s.cfg.Warnings() {
		s.log.Warn(warning)
	}
	handler, err := s.newHandler()
	if err != nil {
		return err
	}
	server := s.newServer(handler)
	listener, err := net.Listen("tcp", s.cfg.ListenAddr)
	if err != nil {
		return failed(fmt.Errorf("listen on %s: %w", s.cfg.ListenAddr, err))
	}
	serving := make(chan error, 1)
	go func() {
		if s.cfg.TLS.CertFile != "" {
			serving <- server.ServeTLS(listener, s.cfg.TLS.CertFile, s.cfg.TLS.KeyFile)
		} else {
			serving <- server.Serve(listener)
		}
	}()
	handler.SetReady(true)
	s.log.Info("serving", zap.Stringer("address", listener.Addr()), zap.String("version", buildVersion()),
		zap.String("delivery", string(s.cfg.Delivery)), zap.Int("connections", len(s.cfg.Connections)))
	if s.sandbox != nil {
		s.printSandbox(listener.Addr())
	}
	select {
	case err := <-serving:
		return failed(fmt.Errorf("serve: %w", err))
	case <-ctx.Done():
	}
	handler.SetReady(false)
	if s.cfg.ShutdownDelay > 0 {
		s.log.Info("stopping: not ready, still taking requests", zap.Duration("delay_ms", s.cfg.ShutdownDelay))
		select {
		case err := <-serving:
			return failed(fmt.Errorf("serve: %w", err))
		case <-time.After(s.cfg.ShutdownDelay):
		}
	}
	return failed(s.drain(server))
}

// newHandler builds the way of an event for every connection.
func (s *service) newHandler() (*webhook.Handler, error) {
	// The line of an event is the only trace of one that is rejected or dead, so
	// log.level does not silence it.
	events, err := newLogger(config.Log{Level: "info", Format: s.cfg.Log.Format}, s.stderr)
	if err != nil {
		return nil, err
	}
	connections := make([]webhook.Connection, 0, len(s.cfg.Connections))
	for _, conn := range s.cfg.Connections {
		mapper, err := mapping.New(conn.Mapping)
		if err != nil {
			return nil, err
		}
		client, err := saasquatch.New(saasquatch.Options{
			BaseURL:        conn.SaaSquatch.BaseURL,
			TenantAlias:    conn.SaaSquatch.TenantAlias,
			APIKey:         conn.SaaSquatch.APIKey,
			UserName:       conn.SaaSquatch.UserName,
			Concurrency:    conn.SaaSquatch.Concurrency,
			AttemptTimeout: conn.SaaSquatch.AttemptTimeout,
			UserAgent:      "segment-saasquatch/" + strings.Fields(buildVersion())[0],
		})
		if err != nil {
			return nil, fmt.Errorf("connection %s: %w", conn.Name, err)
		}
		forwarder := adapter.NewForwarder(client, adapter.ForwarderOptions{
			Concurrency: conn.SaaSquatch.Concurrency,
			RateLimit:   conn.SaaSquatch.RateLimit,
		})
		direct := adapter.NewDirect(mapper, forwarder, adapter.DirectOptions{
			Budget: s.cfg.AnswerBudget,
			Record: logResult(events, conn.Name),
		})
		s.direct = append(s.direct, direct)
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
			Acceptor: direct,
		})
	}
	return webhook.New(connections, webhook.Options{BodyLimit: s.cfg.BodyLimit, Log: s.log})
}

// Limits of a client's connection. Segment opens a connection for each request
// and sends at most some megabytes, at once.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 64 << 10
)

func (s *service) newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      readTimeout + s.cfg.AnswerBudget + 5*time.Second,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          zap.NewStdLog(s.log.Named("http")),
	}
}

// drain lets the requests under way finish, then the attempts that outlived
// theirs, both together within the shutdown timeout.
func (s *service) drain(server *http.Server) error {
	s.log.Info("stopping: requests under way finish", zap.Duration("timeout_ms", s.cfg.ShutdownTimeout))
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.ShutdownTimeout)
	defer cancel()
	err := server.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("finish requests: %w", errors.Join(err, server.Close()))
	}
	for _, direct := range s.direct {
		err = errors.Join(err, direct.Stop(ctx))
	}
	if err == nil {
		s.log.Info("stopped")
	}
	return err
}
