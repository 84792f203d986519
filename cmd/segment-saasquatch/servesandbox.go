package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/sandbox"
)

// embeddedSandbox is the sandbox of serve --sandbox.
type embeddedSandbox struct {
	server  *http.Server
	sandbox *sandbox.Server
	url     string
	// generated names the connections whose shared secret is generated.
	generated map[string]bool
	dataDir   string // removed at the end, empty for none
}

// newEmbeddedSandbox starts a sandbox on a free port of the loopback interface.
func newEmbeddedSandbox(stderr io.Writer) (*embeddedSandbox, string, error) {
	key := "TEST_" + uuid.NewString()
	tenants := map[string]string{sandboxTenant: key}
	handler, err := sandbox.New(sandbox.Options{Tenants: tenants, Users: sandbox.AnyUser})
	if err != nil {
		return nil, "", fmt.Errorf("start sandbox: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", fmt.Errorf("listen for sandbox: %w", err)
	}
	server := newSandboxServer(listener.Addr(), handler, stderr)
	go func() { _ = server.Serve(listener) }() // ends with close
	return &embeddedSandbox{
		server: server, sandbox: handler, url: "http://" + listener.Addr().String(), generated: make(map[string]bool),
	}, key, nil
}

func (e *embeddedSandbox) close() {
	_ = e.server.Close()
	_ = e.sandbox.Close()
	if e.dataDir != "" {
		_ = os.RemoveAll(e.dataDir) // in the system's directory for temporary files
	}
}

// useSandbox points every connection to a sandbox in this process, whatever its tenant is. It generates a shared
// secret for a connection without a credential, and listens on the loopback interface by default.
func (s *service) useSandbox() error {
	embedded, key, err := newEmbeddedSandbox(s.stderr)
	if err != nil {
		return err
	}
	s.sandbox = embedded
	for i := range s.cfg.Connections {
		conn := &s.cfg.Connections[i]
		conn.SaaSquatch.BaseURL = embedded.url
		conn.SaaSquatch.TenantAlias = sandboxTenant
		conn.SaaSquatch.APIKey = adapter.NewSecret(key)
		conn.SaaSquatch.UserName = ""
		if !conn.Segment.HasCredential() && !s.cfg.Insecure {
			conn.Segment.SharedSecret = []adapter.Secret{adapter.NewSecret("sandbox-" + rand.Text())}
			embedded.generated[conn.Name] = true
		}
	}
	if !s.cfg.IsSet("listen_addr") {
		s.cfg.ListenAddr = "127.0.0.1:8080"
	}
	if s.cfg.Delivery == config.DeliveryDurable && !s.cfg.IsSet("data_dir") && s.cfg.Store.IsZero() {
		// Keep trial events apart from real events.
		if embedded.dataDir, err = os.MkdirTemp("", "segment-saasquatch-"); err != nil {
			return fmt.Errorf("make a temporary data directory: %w", err)
		}
		s.cfg.DataDir = embedded.dataDir
	}
	return nil
}

// printSandbox prints the URLs and commands to try.
func (s *service) printSandbox(address net.Addr) {
	scheme := "http"
	if s.cfg.TLS.CertFile != "" {
		scheme = "https"
	}
	for i := range s.cfg.Connections {
		conn := &s.cfg.Connections[i]
		url := scheme + "://" + address.String() + conn.Path
		fmt.Fprintf(s.stdout, "\nwebhook URL    %s\n", url)
		if !s.sandbox.generated[conn.Name] {
			continue // a configured secret is never printed
		}
		secret := conn.Segment.SharedSecret[0].Reveal()
		body, err := sampleEvent("Order Completed", "sample-user-1", time.Now())
		if err != nil {
			s.log.Error("make a sample event: " + err.Error())
			continue
		}
		fmt.Fprintf(s.stdout, "shared secret  %s\n", secret)
		fmt.Fprintf(s.stdout, "\nSend an event; send it again and it is a duplicate:\n\n"+
			"  curl -sS '%s' -H 'Content-Type: application/json' \\\n    -H 'X-Signature: %s' \\\n    -d '%s'\n",
			url, sign(secret, body), body)
		fmt.Fprintf(s.stdout, "\nSend a batch:\n\n  segment-saasquatch send --to %s --secret %s --batch 100\n",
			url, secret)
	}
	fmt.Fprintf(s.stdout, "\nwhat arrived   %s/_sandbox/\n\nCtrl-C ends it.\n\n", s.sandbox.url)
}
