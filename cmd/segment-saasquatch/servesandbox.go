package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/config"
)

// useSandbox points every connection at a sandbox of its own process, whatever
// tenant is configured, makes up a shared secret where there is no credential,
// and keeps to the loopback interface.
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
		// What is tried out is not to be found among real events later.
		if embedded.dataDir, err = os.MkdirTemp("", "segment-saasquatch-"); err != nil {
			return fmt.Errorf("make a directory to try things out in: %w", err)
		}
		s.cfg.DataDir = embedded.dataDir
	}
	return nil
}

func (s *service) closeSandbox() { s.sandbox.close() }

// printSandbox tells a person what to do next.
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
			continue // a configured secret is not to be printed
		}
		secret := conn.Segment.SharedSecret[0].Reveal()
		body, err := sampleEvent("Order Completed", "sample-user-1", time.Now())
		if err != nil {
			s.log.Error("make a sample event: " + err.Error())
			continue
		}
		fmt.Fprintf(s.stdout, "shared secret  %s\n", secret)
		fmt.Fprintf(s.stdout, "\nSend an event; send it again and it is a duplicate:\n\n  curl -sS '%s' -H 'Content-Type: application/json' \\\n    -H 'X-Signature: %s' \\\n    -d '%s'\n", url, sign(secret, body), body)
		fmt.Fprintf(s.stdout, "\nSend a batch:\n\n  segment-saasquatch send --to %s --secret %s --batch 100\n", url, secret)
	}
	fmt.Fprintf(s.stdout, "\nwhat arrived   %s/_sandbox/\n\nCtrl-C ends it.\n\n", s.sandbox.url)
}
