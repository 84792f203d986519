// Package httpserver adds to net/http's server:
//
//   - An answer reaches its sender even if it is written before the body has arrived. The server reads the rest of
//     the body, within limits, before it closes the connection.
//   - A client that stalls or hangs up inside a header gets no answer. net/http answers 400 in some of these cases,
//     and Segment drops a request after 400.
//   - Certificates that are replaced on disk are served from the next handshake on.
//   - The number of open connections is limited. At the limit, connections without a request are closed first.
//   - Shutdown waits for requests, but not for senders that stall.
//
// HTTP/2 does not need the first two: it can end a stream and keep the connection.
package httpserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// Options configure a Server.
type Options struct {
	// DiscardBytes is how many bytes are read after an answer at most. Default: 20 MiB.
	DiscardBytes int64
	// DiscardTime is how long a connection is read after an answer. A sender of at least 16 KiB a second has three
	// times as long. Default: 10 seconds, as long as Segment waits for an answer.
	DiscardTime time.Duration
	// Discards is how many connections are read after their answers at the same time. Another connection is closed at
	// once, and its sender may miss the answer. Default: 1024.
	Discards int64
	// Connections is how many connections may be open, including connections that are read after their answers. At the
	// limit a new connection replaces the one that has waited longest without a request. An idle connection takes 7 KB
	// of memory, 45 KB with TLS and HTTP/2, and MaxHeaderBytes more inside a header. Default: 2048.
	Connections int
	// Refused gets the status of each answer that net/http gives by itself, because the header is malformed, too long
	// or not supported. The hole: over HTTPS it only gets the answers to requests without TLS. Default: none.
	Refused func(status int)
	// CertFile and KeyFile name the PEM files of the certificate for HTTPS. Default: none, plain HTTP.
	CertFile, KeyFile string
	// Log reports replaced certificates and a reached limit of connections. Default: none.
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

// New returns a Server with the limits and the handler of server. It changes server, which the caller must not use any
// more. It fails if the certificate cannot be loaded.
func New(server *http.Server, opts Options) (*Server, error) {
	opts.DiscardBytes = cmp.Or(max(opts.DiscardBytes, 0), DefaultDiscardBytes)
	opts.DiscardTime = cmp.Or(max(opts.DiscardTime, 0), DefaultDiscardTime)
	opts.Discards = cmp.Or(max(opts.Discards, 0), DefaultDiscards)
	opts.Connections = cmp.Or(max(opts.Connections, 0), DefaultConnections)
	if opts.Log == nil {
		opts.Log = zap.NewNop()
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
		// By default a peer can make the server allocate a buffer of 1 MiB for a frame.
		server.HTTP2 = &http.HTTP2Config{MaxReadFrameSize: 16 << 10}
	}
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, connOf(c))
	}
	server.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateIdle {
			connOf(c).setState(awaiting)
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

// Serve answers the requests of a listener's connections until Shutdown or Close. It then returns
// [http.ErrServerClosed].
func (s *Server) Serve(l net.Listener) error {
	l = &listener{Listener: l, discarder: s.discarder, connections: s.connections, refused: s.refused}
	if s.server.TLSConfig != nil {
		return s.server.ServeTLS(l, "", "")
	}
	return s.server.Serve(l)
}

// handler wraps the server's handler. If a request was answered before its body had arrived, it closes the connection
// after the rest of the body.
func (s *Server) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(connKey{}).(*conn)
		c.setState(handling)
		control := http.NewResponseController(w)
		e := &exchange{conn: c, control: control, began: time.Now()}
		writer := &responseWriter{ResponseWriter: w, exchange: e}
		var unread *requestBody // nil if the connection can stay open without the rest of the body
		if r.Body != http.NoBody {
			body := &requestBody{ReadCloser: r.Body, exchange: e}
			r.Body = body
			if r.ProtoMajor == 1 {
				unread, writer.body = body, body
			}
		}
		s.serve(next, writer, r, e)
		if unread == nil || unread.ended {
			return
		}
		closeUnread(w.Header(), unread) // the handler may have written nothing
		flushErr := control.Flush()
		// Shutdown does not wait for a hijacked connection, and net/http does not read from it.
		hijacked, _, err := control.Hijack()
		if err != nil {
			return
		}
		defer func() { _ = hijacked.Close() }()
		if flushErr == nil {
			s.discarder.discard(hijacked)
		}
	})
}

// serve calls the handler and notes when it begins and returns.
func (s *Server) serve(next http.Handler, w http.ResponseWriter, r *http.Request, e *exchange) {
	s.connections.begin(e)
	defer func() {
		e.end()
		s.connections.end(e)
	}()
	next.ServeHTTP(w, r)
}

// Connections returns how many connections are open, and how many were closed so far to make room for others.
func (s *Server) Connections() (open int, shed uint64) { return s.connections.count() }

// Shutdown stops listening and waits for the requests in flight until ctx ends. It waits for a body as long as the
// body brings 16 KB a second after the first 2 seconds. Connections without a request are closed. A sender that stalls
// gets an answer, if it reads, and is no failure of the shutdown. The server reads a connection after its answer for
// one more second at most.
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

// Close stops listening and closes all connections at once. Connections that are read after their answers have one
// more second.
func (s *Server) Close() error {
	s.discarder.stop()
	return s.server.Close()
}
