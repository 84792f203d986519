package saasquatch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"

	"segment-saasquatch/adapter"
)

// phase is how far a request without an answer got.
type phase int32

const (
	phaseStart phase = iota
	phaseTLS         // TLS began on a new connection
	phaseSent        // there was a connection for the request
)

// traced records the phase of a request.
type traced struct{ phase atomic.Int32 }

// trace returns a context whose request records its phase.
func (p *traced) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart: func() { p.phase.CompareAndSwap(int32(phaseStart), int32(phaseTLS)) },
		GotConn:           func(httptrace.GotConnInfo) { p.phase.Store(int32(phaseSent)) },
	})
}

func (p *traced) came() phase { return phase(p.phase.Load()) }

// proxyRefusedError is the answer of a proxy that refuses a connection.
type proxyRefusedError struct{ status int }

func (e *proxyRefusedError) Error() string {
	return fmt.Sprintf("the proxy refuses the connection: HTTP %d %s", e.status, http.StatusText(e.status))
}

// refusalOf returns the error of a proxy that does not answer CONNECT with 200.
func refusalOf(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode != http.StatusOK {
		return &proxyRefusedError{answer.StatusCode}
	}
	return nil
}

// causeByNumber has the causes of the system's errors.
var causeByNumber = map[syscall.Errno]adapter.Cause{
	syscall.ECONNREFUSED:  adapter.CauseConnectionRefused,
	syscall.ECONNRESET:    adapter.CauseConnectionClosed,
	syscall.ECONNABORTED:  adapter.CauseConnectionClosed,
	syscall.EPIPE:         adapter.CauseConnectionClosed,
	syscall.EHOSTUNREACH:  adapter.CauseNoRoute,
	syscall.ENETUNREACH:   adapter.CauseNoRoute,
	syscall.ENETDOWN:      adapter.CauseNoRoute,
	syscall.EACCES:        adapter.CauseForbidden,
	syscall.EPERM:         adapter.CauseForbidden,
	syscall.EADDRNOTAVAIL: adapter.CauseNoLocalPort,
	syscall.EMFILE:        adapter.CauseTooManyFiles,
	syscall.ENFILE:        adapter.CauseTooManyFiles,
}

// closedIdle ends net/http's error for a connection that the server closed before the request was written to it. The
// error has no type, and its variable is not exported.
const closedIdle = "http: server closed idle connection"

// causeOf returns why a request that got as far as came has no answer. It judges by the type of the error, where it
// has one.
func causeOf(err error, came phase) adapter.Cause {
	is := func(target error) bool { return errors.Is(err, target) }
	operation, _ := errors.AsType[*net.OpError](err)
	lookup, _ := errors.AsType[*net.DNSError](err)
	number, _ := errors.AsType[syscall.Errno](err)
	switch {
	case typed[*proxyRefusedError](err):
		return adapter.CauseProxyRefused
	case operation != nil && operation.Op == "proxyconnect":
		return adapter.CauseProxyUnreachable
	case lookup != nil && lookup.IsNotFound:
		return adapter.CauseNoSuchHost
	case lookup != nil:
		return adapter.CauseDNSFailed
	case typed[x509.UnknownAuthorityError](err), typed[x509.SystemRootsError](err):
		return adapter.CauseUnknownAuthority
	case typed[x509.HostnameError](err):
		return adapter.CauseCertificateHost
	case typed[x509.CertificateInvalidError](err):
		if invalid, _ := errors.AsType[x509.CertificateInvalidError](err); invalid.Reason != x509.Expired {
			return adapter.CauseCertificateInvalid
		}
		return adapter.CauseCertificateExpired
	case typed[*tls.CertificateVerificationError](err):
		return adapter.CauseCertificateInvalid
	case typed[tls.RecordHeaderError](err), is(http.ErrSchemeMismatch):
		return adapter.CauseNotTLS
	case causeByNumber[number] != "":
		return causeByNumber[number]
	case isTimeout(err) && came == phaseSent:
		return adapter.CauseAnswerTimeout
	case isTimeout(err) && came == phaseTLS:
		return adapter.CauseTLSTimeout
	case isTimeout(err):
		return adapter.CauseConnectTimeout
	case is(io.EOF), is(io.ErrUnexpectedEOF), is(net.ErrClosed), strings.HasSuffix(err.Error(), closedIdle):
		return adapter.CauseConnectionClosed
	case came == phaseTLS && !is(context.Canceled): // the alerts of crypto/tls have no type
		return adapter.CauseTLSRefused
	}
	return adapter.CauseUnknown
}

// typed reports whether an error of the type is in the chain.
func typed[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// isTimeout reports whether a timeout ended the request. The transport's own errors share no type.
func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && timeout.Timeout()
}
