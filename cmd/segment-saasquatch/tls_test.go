package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate writes a certificate for the loopback address and its key.
func certificate(t *testing.T) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	roots = x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(parsed)
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER), roots
}

func TestTLSAndHealthcheck(t *testing.T) {
	t.Parallel()
	certFile, keyFile, roots := certificate(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	env := []string{
		"LISTEN_ADDR=" + address, "TLS_CERT_FILE=" + certFile, "TLS_KEY_FILE=" + keyFile,
		"SEGMENT_SHARED_SECRET=" + testSecret, "SAASQUATCH_TENANT_ALIAS=test_x", "SAASQUATCH_API_KEY=TEST_x-and-more",
	}
	if code := start(t, env, "healthcheck").wait(); code != exitFailed {
		t.Errorf("healthcheck without a server: exit code %d", code)
	}
	s := start(t, env, "serve")
	s.stderr.await(t, `"msg":"serving"`)
	if code := start(t, env, "healthcheck").wait(); code != exitOK {
		t.Errorf("healthcheck: exit code %d", code)
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true}}
	response, err := client.Get("https://" + address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK || response.ProtoMajor != 2 {
		t.Errorf("got %s over %s", response.Status, response.Proto)
	}
}

// TestTLSFilesAreReplaced checks that a new certificate and key are used from the next handshake on, once both files
// are there.
func TestTLSFilesAreReplaced(t *testing.T) {
	t.Parallel()
	certFile, keyFile, first := certificate(t)
	newCert, newKey, second := certificate(t)
	s := startServer(t, "http://127.0.0.1:1", []string{"TLS_CERT_FILE=" + certFile, "TLS_KEY_FILE=" + keyFile})
	url := strings.Replace(strings.TrimSuffix(s.url, "/segment"), "http", "https", 1) + "/healthz"
	answers := func(roots *x509.CertPool) bool {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
		response, err := (&http.Client{Transport: transport}).Get(url)
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	}
	overwrite := func(file, with string) {
		t.Helper()
		text, err := os.ReadFile(with)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !answers(first) || answers(second) {
		t.Error("the first pair is not served")
	}
	overwrite(certFile, newCert)
	if !answers(first) || answers(second) {
		t.Error("the last good pair is not served")
	}
	s.stderr.await(t, `"level":"error".*the last good one stays`)
	overwrite(keyFile, newKey)
	if answers(first) || !answers(second) {
		t.Error("the second pair is not served")
	}
	s.stderr.await(t, `the TLS certificate was replaced`)
}
