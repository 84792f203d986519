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
	var file, url string
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a server on this machine whether it is ready; exit 0 if so",
		Long: `Healthcheck asks /readyz of the server that the same configuration describes. It
is made for a container's HEALTHCHECK, where there is no curl.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if url == "" {
				cfg, err := config.Load(config.Source{File: file, Env: p.env, Flags: cmd.Flags()})
				if err != nil {
					return err
				}
				if url, err = readyURL(cfg); err != nil {
					return err
				}
			}
			return failed(p.checkReady(cmd.Context(), url))
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `file` of the server")
	cmd.Flags().StringVar(&url, "url", "", "`URL` to ask instead")
	config.RegisterFlags(cmd.Flags())
	return cmd
}

// readyURL returns the URL of /readyz for whoever is on the server's machine.
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
		// The certificate names the public host; this asks the machine itself
		// and sends nothing secret.
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
