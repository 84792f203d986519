// Package httpserver adds to net/http's server:
//
//   - An answer reaches its sender although it is written before the body has come.
//     The server reads the rest, within bounds, before it closes the connection.
//   - A client that stalls or hangs up inside a header gets no answer. net/http
//     answers 400 in some of these cases, and Segment drops a request after 400.
//   - Certificates that are replaced on disk are served from the next handshake on.
//   - The number of open connections is bounded, and those without a request go first.
//   - Shutdown waits for requests, and for no sender that stalls.
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
	// DiscardTime bounds the time of reading after an answer. A sender that goes on
	// sending 16 KiB a second or more has three times as long. Default: 10 seconds, as
	// long as Segment waits for an answer.
	DiscardTime time.Duration
	// Discards bounds how many connections are read after their answers at the same
	// time. A connection beyond it is closed at once, and its sender may miss the
	// answer. Default: 1024.
	Discards int64
	// Connections bounds the open connections, those included that are read after
	// their answers. At the bound a new connection takes the place of the one that has
	// waited longest without a request. An idle connection takes 7 KB of memory, 45 KB
	// with TLS and HTTP/2, and MaxHeaderBytes more inside a header. Default: 2048.
	Connections int
	// Refused is told the status of each answer that net/http gives by itself, since
	// the header is malformed, too long or not supported. The hole: over HTTPS it is
	// only told of requests without TLS. Default: none.
	Refused func(status int)
	// CertFile and KeyFile name the PEM files of the certificate to serve HTTPS with.
	// Default: none, plain HTTP.
	CertFile, KeyFile string
	// Log tells of certificates that are replaced, and of the bound of connections.
	// Default: none.
	Log *zap.Logger
}

// Defaults of Options.
const (
	DefaultDiscardBytes = 20 << 20
	DefaultDiscardTime  = 10 * time.Second
	DefaultDiscards     = 1024
	DefaultConnections  = 2048
)

// Server is an HTTP server. Its methods are safe for concurrent use.
type Server struct {
	server      *http.Server
	discarder   *discarder
	connections *connections
	refused     func(status int)
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
	if opts.Connections <= 0 {
		opts.Connections = DefaultConnections
	}
	if opts.Refused == nil {
		opts.Refused = func(int) {}
	}
	s := &Server{
		server: server, discarder: newDiscarder(opts),
		connections: newConnections(opts.Connections, opts.Log), refused: opts.Refused,
	}
	server.Handler = s.handler(server.Handler)
	if server.HTTP2 == nil {
		// By default a peer could have a buffer of 1 MiB made for a frame.
		server.HTTP2 = &http.HTTP2Config{MaxReadFrameSize: 16 << 10}
	}
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
	l = &listener{Listener: l, discarder: s.discarder, connections: s.connections, refused: s.refused}
	if s.server.TLSConfig != nil {
		return s.server.ServeTLS(l, "", "")
	}
	return s.server.Serve(l)
}

// Connections returns how many connections are open, and how many were closed so far to
// make room for others.
func (s *Server) Connections() (open int, shed uint64) { return s.connections.count() }

// Shutdown stops listening and waits for the requests under way until ctx ends: for
// those in the handler, and for a body as long as it brings 16 KB a second beyond the
// first 2 seconds. Connections without a request are closed. A sender that stalls is
// answered, if it reads, and makes the shutdown no failure. The server reads a
// connection after its answer for one more second at most.
func (s *Server) Shutdown(ctx context.Context) error {
	s.discarder.stop()
	watching, stopWatching := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.connections.endStalls(watching)
	}()
	err := s.server.Shutdown(ctx)
	stopWatching()
	<-watched
	s.discarder.wait(ctx)
	return err
}

// Close stops listening and closes all connections at once. Connections that are
// read after their answers have one more second.
func (s *Server) Close() error {
	s.discarder.stop()
	return s.server.Close()
}
