package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"segment-saasquatch/adapter"
)

// TestNoAnswerIsLogged checks that the first request without an answer, and the pause after it, have lines with the
// cause and its remedy. deliveries show has both too.
func TestNoAnswerIsLogged(t *testing.T) {
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	secure := httptest.NewUnstartedServer(ok)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(ok)
	t.Cleanup(plain.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	t.Cleanup(proxy.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	roots := filepath.Join(t.TempDir(), "missing.pem")

	for name, test := range map[string]struct {
		url    string
		env    string
		level  string
		cause  adapter.Cause
		detail string
	}{
		"authority": {secure.URL, "", "error", adapter.CauseUnknownAuthority,
			"x509: certificate signed by unknown authority"},
		"CA file": {secure.URL, "SSL_CERT_FILE=" + roots, "error", adapter.CauseUnknownAuthority,
			"x509: certificate signed by unknown authority"},
		"plain": {"https" + strings.TrimPrefix(plain.URL, "http"), "", "error", adapter.CauseNotTLS,
			"does not look like a TLS handshake"},
		"refused": {"http://" + closed.Addr().String(), "", "warn", adapter.CauseConnectionRefused,
			"connection refused"},
		"proxy": {"https://saasquatch.invalid", "HTTPS_PROXY=http://user:pass@" +
			strings.TrimPrefix(proxy.URL, "http://"), "error", adapter.CauseProxyRefused, "HTTP 407"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			env := []string{"DELIVERY=durable", "DATA_DIR=" + dir}
			if test.env != "" {
				env = append(env, test.env)
			}
			s := startServer(t, test.url, env)
			accepted(t, s, "first")
			cause := `"cause":"` + string(test.cause) + `","detail":"[^"]*` + regexp.QuoteMeta(test.detail) +
				`[^"]*` + regexp.QuoteMeta(test.cause.Remedy())
			s.stderr.await(t, `"level":"`+test.level+`"[^\n]*"msg":"requests to SaaSquatch get no `+
				`answer","connection":"default",`+cause)
			var ids []string
			for i := range 25 {
				ids = append(ids, "event-"+string(rune('a'+i%26))+string(rune('a'+i/26)))
			}
			accepted(t, s, ids...)
			s.stderr.await(t, `"level":"`+test.level+`"[^\n]*"msg":"delivery is paused"[^\n]*`+cause)
			if lines := strings.Count(s.stderr.String(), "get no answer"); lines != 1 {
				t.Errorf("%d lines of requests without an answer, want 1", lines)
			}
			if strings.Contains(s.stderr.String(), "pass") && strings.Contains(s.stderr.String(), "user:") {
				t.Error("the log shows the proxy's credentials")
			}
			code, shown, stderr := deliveries(t, append(s.Env, "DATA_DIR="+dir), "show", "1")
			if code != exitOK || !strings.Contains(shown, test.detail) ||
				!strings.Contains(shown, test.cause.Remedy()) {
				t.Errorf("deliveries show exits with %d, %s\n%s", code, stderr, shown)
			}
		})
	}
}
