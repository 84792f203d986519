package httpserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// newPair makes a certificate for the loopback address and its key.
func newPair(t testing.TB, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// writePair writes a new pair into a directory.
func writePair(t testing.TB, dir, name string) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	cert, key := newPair(t, name)
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	replace(t, certFile, cert)
	replace(t, keyFile, key)
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return certFile, keyFile, roots
}

// replace replaces a file by another at once.
func replace(t testing.TB, file string, content []byte) {
	t.Helper()
	next := file + ".next"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
}

// TestCertificateIsReplaced replaces a pair in every usual way.
func TestCertificateIsReplaced(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile, _ := writePair(t, dir, "one")
	core, logged := observer.New(zapcore.DebugLevel)
	c, err := newCertificate(certFile, keyFile, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	twoCert, twoKey := newPair(t, "two")
	threeCert, threeKey := newPair(t, "three")
	for _, step := range []struct {
		name  string
		do    func()
		want  string
		level zapcore.Level // of the one new line, or silent
	}{
		{"nothing", func() {}, "one", silent},
		{"the certificate alone", func() { replace(t, certFile, twoCert) }, "one", zapcore.ErrorLevel},
		{"still alone", func() {}, "one", silent},
		{"the key follows", func() { replace(t, keyFile, twoKey) }, "two", zapcore.InfoLevel},
		{"nothing again", func() {}, "two", silent},
		{"the key goes ahead", func() { replace(t, keyFile, threeKey) }, "two", zapcore.ErrorLevel},
		{"half of the certificate", func() { replace(t, certFile, threeCert[:200]) }, "two", zapcore.ErrorLevel},
		{"the rest of it", func() { appendTo(t, certFile, threeCert[200:]) }, "three", zapcore.InfoLevel},
		{"no key", func() { remove(t, keyFile) }, "three", zapcore.ErrorLevel},
		{"still none", func() {}, "three", silent},
		{"empty files", func() { replace(t, keyFile, nil); replace(t, certFile, nil) }, "three", zapcore.ErrorLevel},
		{"back", func() { replace(t, keyFile, twoKey); replace(t, certFile, twoCert) }, "two", zapcore.InfoLevel},
	} {
		step.do()
		logged.TakeAll()
		for range 3 {
			got, err := c.get(nil)
			if err != nil || got.Leaf.Subject.CommonName != step.want {
				t.Fatalf("%s: got %s, %v, want %s", step.name, got.Leaf.Subject.CommonName, err, step.want)
			}
		}
		lines := logged.TakeAll()
		var level zapcore.Level = silent
		if len(lines) > 0 {
			level = lines[0].Level
		}
		if len(lines) > 1 || level != step.level {
			t.Errorf("%s: logged %v", step.name, lines)
		}
	}
}

const silent = zapcore.InvalidLevel

func appendTo(t *testing.T, file string, text []byte) {
	t.Helper()
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(old, text...), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

// TestCertificateOfKubernetes replaces a mounted secret as Kubernetes does: the files are links through the link
// ..data, which a rename replaces.
func TestCertificateOfKubernetes(t *testing.T) {
	mount := t.TempDir()
	version := func(name string) {
		dir := filepath.Join(mount, ".."+name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		writePair(t, dir, name)
		next := filepath.Join(mount, "..data_tmp")
		if err := os.Symlink(".."+name, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(mount, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version("one")
	certFile, keyFile := filepath.Join(mount, "tls.crt"), filepath.Join(mount, "tls.key")
	for _, file := range []string{certFile, keyFile} {
		if err := os.Symlink(filepath.Join("..data", filepath.Base(file)), file); err != nil {
			t.Fatal(err)
		}
	}
	c, err := newCertificate(certFile, keyFile, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"two", "three"} {
		version(name)
		if got, err := c.get(nil); err != nil || got.Leaf.Subject.CommonName != name {
			t.Errorf("got %s, %v, want %s", got.Leaf.Subject.CommonName, err, name)
		}
	}
}

func TestNoCertificate(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile, _ := writePair(t, dir, "one")
	otherCert, _ := newPair(t, "two")
	other := filepath.Join(dir, "other.crt")
	replace(t, other, otherCert)
	for _, pair := range [][2]string{{certFile, "/absent"}, {"/absent", keyFile}, {other, keyFile},
		{keyFile, certFile}} {
		if _, err := newCertificate(pair[0], pair[1], zap.NewNop()); err == nil {
			t.Errorf("%v: no error", pair)
		}
	}
}

// BenchmarkCertificate measures how much the check for replaced files adds to a handshake.
func BenchmarkCertificate(b *testing.B) {
	certFile, keyFile, _ := writePair(b, b.TempDir(), "one")
	c, err := newCertificate(certFile, keyFile, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := c.get(nil); err != nil {
			b.Fatal(err)
		}
	}
}
