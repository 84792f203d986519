package httpserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// certificate is a certificate and its key in two PEM files, which may be replaced at any time. If a new pair does not
// load, for example because it is half written, the last good one stays.
//
// Each handshake calls stat for both files, which takes 2 µs. stat follows symbolic links, by which Kubernetes
// replaces secrets. The hole: a file is not read again if its content changes but its size, time and inode do not.
type certificate struct {
	certFile, keyFile string
	log               *zap.Logger

	mu    sync.Mutex
	good  *tls.Certificate
	tried [2]os.FileInfo // the files that were last loaded, or failed to load
	fault string         // the last error, which is logged once
}

func newCertificate(certFile, keyFile string, log *zap.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	files, err := c.stat()
	if err == nil {
		err = c.load(files)
	}
	if err != nil {
		return nil, fmt.Errorf("load the TLS certificate: %w", err)
	}
	return c, nil
}

// get returns the certificate for a handshake.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	files, err := c.stat()
	if err == nil {
		if same(files[0], c.tried[0]) && same(files[1], c.tried[1]) {
			return c.good, nil
		}
		err = c.load(files)
	}
	switch {
	case err == nil:
		c.fault = ""
		c.log.Info("the TLS certificate was replaced",
			zap.String("file", c.certFile), zap.Time("not_after", c.notAfter()))
	case err.Error() != c.fault:
		c.fault = err.Error()
		c.log.Error("the TLS certificate on disk cannot be used, the last good one stays: "+
			"replace tls.cert_file and tls.key_file by a pair that belongs together",
			zap.Error(err), zap.Time("not_after", c.notAfter()))
	}
	return c.good, nil
}

func (c *certificate) notAfter() time.Time { return c.good.Leaf.NotAfter }

// stat describes both files. It fails if one is missing.
func (c *certificate) stat() (files [2]os.FileInfo, err error) {
	cert, certErr := os.Stat(c.certFile)
	key, keyErr := os.Stat(c.keyFile)
	return [2]os.FileInfo{cert, key}, errors.Join(certErr, keyErr)
}

// load reads the pair. The next handshake loads it again if it was replaced after the call of stat.
func (c *certificate) load(files [2]os.FileInfo) error {
	c.tried = files
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.good = &pair
	return nil
}

func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
