// Package httpserver adds to net/http's server:
//
//   - An answer reaches its sender although it is written before the body has come.
//     The server reads the rest, within bounds, before it closes the connection.
//   - A client that stalls or hangs up inside a header gets no answer. net/http
//     answers 400 in some of these cases, and Segment drops a request after 400.
//   - Certificates that are replaced on disk are served from the next handshake on.
//
// HTTP/2 does not need the first two: it can end a stream and keep the connection.
package httpserver

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// Options are a Server's choices.
type Options struct {
	// DiscardBytes bounds what is read after an answer, in bytes. Default: 20 MiB.
	DiscardBytes int64
	// DiscardTime bounds the time of reading after an answer. Default: 10 seconds, as
	// long as Segment waits for an answer.
	DiscardTime time.Duration
	// Discards bounds how many connections are read after their answers at the same
	// time. A connection beyond it is closed at once, and its sender may miss the
	// answer. Default: 1024.
	Discards int64
	// CertFile and KeyFile name the PEM files of the certificate to serve HTTPS with.
	// Default: none, plain HTTP.
	CertFile, KeyFile string
	// Log tells of certificates that are replaced. Default: none.
	Log *zap.Logger
}

// Defaults of Options.
const (
	DefaultDiscardBytes = 20 << 20
	DefaultDiscardTime  = 10 * time.Second
	DefaultDiscards     = 1024
)

// Server is an HTTP server. Its methods are safe for concurrent use.
type Server struct {
	server    *http.Server
	discarder *discarder
}

// New returns a Server with the limits and the handler of server, which it changes
// and which must not be used any more. It fails if the certificate cannot be loaded.
func New(server *http.Server, opts Options) (*Server, error) {
	if opts.DiscardBytes <= 0 {
		opts.DiscardBytes = DefaultDiscardBytes
	}
	if opts.DiscardTime <= 0 {
		opts.DiscardTime = DefaultDiscardTime
	}
	if opts.Discards <= 0 {
		opts.Discards = DefaultDiscards
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	s := &Server{server: server, discarder: newDiscarder(opts)}
	server.Handler = s.discarder.handler(server.Handler)
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, connOf(c))
	}
	server.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateIdle {
			connOf(c).awaitHeader()
		}
	}
	if opts.CertFile != "" {
		certificate, err := newCertificate(opts.CertFile, opts.KeyFile, opts.Log)
		if err != nil {
			return nil, err
		}
		server.TLSConfig = &tls.Config{GetCertificate: certificate.get}
	}
	return s, nil
}

// Serve answers the requests of a listener's connections until Shutdown or Close,
// and returns [http.ErrServerClosed] then.
func (s *Server) Serve(l net.Listener) error {
	l = &listener{Listener: l, discarder: s.discarder}
	if s.server.TLSConfig != nil {
		return s.server.ServeTLS(l, "", "")
	}
	return s.server.Serve(l)
}

// Shutdown stops listening and waits for the requests under way until ctx ends. The
// server reads a connection after its answer for one more second at most. It is no
// error if such a connection is cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.discarder.stop()
	err := s.server.Shutdown(ctx)
	s.discarder.wait(ctx)
	return err
}

// Close stops listening and closes all connections at once. Connections that are
// read after their answers have one more second.
func (s *Server) Close() error {
	s.discarder.stop()
	return s.server.Close()
}
