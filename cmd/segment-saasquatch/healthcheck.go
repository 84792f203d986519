package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/config"
)

func (p *program) healthcheckCommand() *cobra.Command {
	var url string
	cmd := command("healthcheck", "Exit with 0 if the server on this machine is ready", `
Healthcheck requests /readyz from the server that the configuration describes. Use it
for a container's HEALTHCHECK, where there is no curl.`)
	f := p.addConfigFlags(cmd)
	cmd.Flags().StringVar(&url, "url", "", "request this `URL` (default: /readyz at listen_addr)")
	cmd.RunE = func(*cobra.Command, []string) error {
		if url == "" {
			cfg, err := f.load()
			if err != nil {
				return err
			}
			if url, err = readyURL(cfg); err != nil {
				return err
			}
		}
		return failed(p.checkReady(cmd.Context(), url))
	}
	return cmd
}

// readyURL returns the URL of /readyz for a client on the server's machine.
func readyURL(cfg *config.Config) (string, error) {
	host, port, err := net.SplitHostPort(cfg.ListenAddr)
	if err != nil {
		return "", fmt.Errorf("listen_addr %q: %w", cfg.ListenAddr, err)
	}
	// The name localhost may be unknown in an empty container.
	switch ip := net.ParseIP(host); {
	case host == "", ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	scheme := "http"
	if cfg.TLS.CertFile != "" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + "/readyz", nil
}

const healthcheckTimeout = 3 * time.Second

func (p *program) checkReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{
		// The certificate names the public host, and this request goes to the machine itself. It has no secret.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec
	}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 4<<10))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s answered %s", url, response.Status)
	}
	_, err = fmt.Fprintln(p.stdout, "ready")
	return err
}
