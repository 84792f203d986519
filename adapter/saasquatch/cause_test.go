package saasquatch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// TestCauses checks the causes of errors in the form of net, crypto/tls and net/http.
func TestCauses(t *testing.T) {
	number := func(op string, n syscall.Errno) error {
		return &net.OpError{Op: op, Net: "tcp", Err: os.NewSyscallError("connect", n)}
	}
	verification := func(err error) error { return &tls.CertificateVerificationError{Err: err} }
	for _, test := range []struct {
		err  error
		came phase
		want adapter.Cause
	}{
		{verification(x509.UnknownAuthorityError{}), phaseTLS, adapter.CauseUnknownAuthority},
		{x509.SystemRootsError{Err: os.ErrNotExist}, phaseTLS, adapter.CauseUnknownAuthority},
		{verification(x509.CertificateInvalidError{Reason: x509.Expired}), phaseTLS, adapter.CauseCertificateExpired},
		{verification(x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}), phaseTLS,
			adapter.CauseCertificateInvalid},
		{verification(errors.New("revoked")), phaseTLS, adapter.CauseCertificateInvalid},
		{verification(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "h"}), phaseTLS,
			adapter.CauseCertificateHost},
		{http.ErrSchemeMismatch, phaseTLS, adapter.CauseNotTLS},
		{tls.RecordHeaderError{}, phaseTLS, adapter.CauseNotTLS},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: handshake failure")}, phaseTLS,
			adapter.CauseTLSRefused},
		{context.DeadlineExceeded, phaseTLS, adapter.CauseTLSTimeout},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}, phaseStart,
			adapter.CauseNoSuchHost},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "i/o timeout", IsTimeout: true}}, phaseStart,
			adapter.CauseDNSFailed},
		{&net.DNSError{Err: "server misbehaving", IsTemporary: true}, phaseStart, adapter.CauseDNSFailed},
		{&net.OpError{Op: "proxyconnect", Err: number("dial", syscall.ECONNREFUSED)}, phaseStart,
			adapter.CauseProxyUnreachable},
		{&net.OpError{Op: "proxyconnect", Err: &net.DNSError{IsNotFound: true}}, phaseStart,
			adapter.CauseProxyUnreachable},
		{&proxyRefusedError{407}, phaseStart, adapter.CauseProxyRefused},
		{number("dial", syscall.ECONNREFUSED), phaseStart, adapter.CauseConnectionRefused},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, phaseStart, adapter.CauseConnectTimeout},
		{number("dial", syscall.ETIMEDOUT), phaseStart, adapter.CauseConnectTimeout},
		{context.DeadlineExceeded, phaseStart, adapter.CauseConnectTimeout},
		{number("read", syscall.ECONNRESET), phaseSent, adapter.CauseConnectionClosed},
		{number("write", syscall.EPIPE), phaseSent, adapter.CauseConnectionClosed},
		{&url.Error{Err: io.EOF}, phaseSent, adapter.CauseConnectionClosed},
		{io.ErrUnexpectedEOF, phaseSent, adapter.CauseConnectionClosed},
		{errors.New("http: server closed idle connection"), phaseSent, adapter.CauseConnectionClosed},
		{context.DeadlineExceeded, phaseSent, adapter.CauseAnswerTimeout},
		{number("dial", syscall.EHOSTUNREACH), phaseStart, adapter.CauseNoRoute},
		{number("dial", syscall.ENETUNREACH), phaseStart, adapter.CauseNoRoute},
		{number("dial", syscall.EPERM), phaseStart, adapter.CauseForbidden},
		{number("dial", syscall.EACCES), phaseStart, adapter.CauseForbidden},
		{number("dial", syscall.EADDRNOTAVAIL), phaseStart, adapter.CauseNoLocalPort},
		{number("socket", syscall.EMFILE), phaseStart, adapter.CauseTooManyFiles},
		{number("socket", syscall.ENFILE), phaseStart, adapter.CauseTooManyFiles},
		{context.Canceled, phaseSent, adapter.CauseUnknown},
		{context.Canceled, phaseTLS, adapter.CauseUnknown},
		{errors.New("anything"), phaseSent, adapter.CauseUnknown},
	} {
		got := classifyError(fmt.Errorf("wrapped: %w", test.err), test.came)
		if got.Cause != test.want {
			t.Errorf("%v: cause %s, want %s", test.err, got.Cause, test.want)
		}
		if remedy := test.want.Remedy(); (remedy == "") != (test.want == adapter.CauseUnknown) ||
			!strings.HasSuffix(got.Detail, remedy) {
			t.Errorf("%v: detail %q has not the remedy %q", test.err, got.Detail, remedy)
		}
		long := classifyError(fmt.Errorf("%s: %w", strings.Repeat("ö", maxDetail), test.err), test.came)
		if len(long.Detail) > maxDetail+len("…") || !strings.HasSuffix(long.Detail, test.want.Remedy()) {
			t.Errorf("%v: detail of %d bytes: %s", test.err, len(long.Detail), long.Detail)
		}
	}
}

// TestCausesOfRealFailures checks the causes of real errors of net/http.
func TestCausesOfRealFailures(t *testing.T) {
	quiet := log.New(io.Discard, "", 0)
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	secure := httptest.NewUnstartedServer(ok)
	secure.Config.ErrorLog = quiet
	secure.StartTLS()
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(ok)
	t.Cleanup(plain.Close)
	mutual := httptest.NewUnstartedServer(ok)
	mutual.Config.ErrorLog = quiet
	mutual.TLS = &tls.Config{MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert}
	mutual.StartTLS()
	t.Cleanup(mutual.Close)
	closed, silent := listen(t, true), listen(t, false)
	gone := listen(t, false)
	gone.Close()

	roots := secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	later := func() time.Time { return time.Now().AddDate(200, 0, 0) }
	for _, test := range []struct {
		url     string
		tls     *tls.Config
		timeout time.Duration
		want    adapter.Cause
	}{
		{secure.URL, nil, 0, adapter.CauseUnknownAuthority},
		{secure.URL, &tls.Config{RootCAs: roots, Time: later}, 0, adapter.CauseCertificateExpired},
		{secure.URL, &tls.Config{RootCAs: roots, ServerName: "other.invalid"}, 0, adapter.CauseCertificateHost},
		{"https" + strings.TrimPrefix(plain.URL, "http"), nil, 0, adapter.CauseNotTLS},
		{mutual.URL, &tls.Config{RootCAs: roots}, 0, adapter.CauseTLSRefused},
		{"http://" + gone.Addr().String(), nil, 0, adapter.CauseConnectionRefused},
		{"http://" + closed.Addr().String(), nil, 0, adapter.CauseConnectionClosed},
		{"http://" + silent.Addr().String(), nil, 50 * time.Millisecond, adapter.CauseAnswerTimeout},
		{"https://" + silent.Addr().String(), nil, 50 * time.Millisecond, adapter.CauseTLSTimeout},
	} {
		client, err := New(Options{BaseURL: test.url, TenantAlias: "test", APIKey: adapter.NewSecret("key"),
			TLS: test.tls, AttemptTimeout: test.timeout})
		if err != nil {
			t.Fatal(err)
		}
		got := client.Track(t.Context(), &mapping.UserEvent{UserID: "secret-user", AccountID: "secret-user",
			Body: []byte("{}")})
		if got.Cause != test.want || strings.Contains(got.Detail, "secret") {
			t.Errorf("%s: cause %s of %q, want %s", test.url, got.Cause, got.Detail, test.want)
		}
	}
}

// listen returns a listener that closes its connections at once, or never answers.
func listen(t *testing.T, closes bool) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if closes {
				conn.Close()
			} else {
				t.Cleanup(func() { conn.Close() })
			}
		}
	}()
	return l
}
