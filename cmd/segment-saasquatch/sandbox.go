package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/httpserver"
	"segment-saasquatch/adapter/sandbox"
)

// Defaults of the sandbox's tenant.
const (
	sandboxTenant = "test_sandbox"
	sandboxKey    = "TEST_sandbox"
)

func (p *program) sandboxCommand() *cobra.Command {
	var (
		address, tenant, apiKey, users, resetRate, timeoutRate string
		abortJob                                               string
		fail, refuseRecords                                    []string
		latency, retryAfter, jobTime                           time.Duration
		burnKeys                                               bool
		recordBase, abortAfter                                 int
	)
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Run a simulated SaaSquatch",
		Long: `Sandbox runs a simulated SaaSquatch: the Track User Event call, user upsert and
look-up, bulk imports of events and users through upload and GraphQL, idempotency
keys with their 24 hours, SaaSquatch's validation and errors, and faults on demand.
It keeps everything in memory, but for uploads and the results of imports, which
are gone from the disk when it ends. What arrived is shown at /_sandbox/, and as
JSON at /_sandbox/events and /_sandbox/stats.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options := sandbox.Options{Tenants: map[string]string{tenant: apiKey}, BurnKeys: burnKeys}
			switch users {
			case "known":
				options.Users = sandbox.KnownUsers
			case "any":
				options.Users = sandbox.AnyUser
			default:
				return fmt.Errorf("--users %q: want known or any", users)
			}
			var err error
			if options.Faults, err = parseFaults(fail, resetRate, timeoutRate, retryAfter); err != nil {
				return err
			}
			options.Faults.Latency = latency
			options.JobTime = jobTime
			switch recordBase {
			case 0:
				options.RecordNumberBase = sandbox.RecordsFromZero
			case 1:
				options.RecordNumberBase = sandbox.RecordsFromOne
			default:
				return fmt.Errorf("--record-base %d: want 0 or 1", recordBase)
			}
			if options.Jobs, err = parseJobFaults(abortJob, refuseRecords); err != nil {
				return err
			}
			options.Jobs.AbortAfter = abortAfter
			server, err := sandbox.New(options)
			if err != nil {
				return err
			}
			defer func() { _ = server.Close() }() // it never fails
			listener, err := net.Listen("tcp", address)
			if err != nil {
				return failed(fmt.Errorf("listen on %s: %w", address, err))
			}
			fmt.Fprintf(p.stdout, "simulated SaaSquatch: http://%s\n  page     http://%[1]s/_sandbox/\n  tenant   SAASQUATCH_TENANT_ALIAS=%s\n  API key  SAASQUATCH_API_KEY=%s\n  base URL SAASQUATCH_BASE_URL=http://%[1]s\n",
				listener.Addr(), tenant, apiKey)
			return failed(serveUntil(cmd.Context(), newSandboxServer(listener.Addr(), server, p.stderr), listener))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&address, "listen-addr", "127.0.0.1:4000", "`address` to listen on")
	flags.StringVar(&tenant, "tenant", sandboxTenant, "`alias` of the only tenant")
	flags.StringVar(&apiKey, "api-key", sandboxKey, "API `key` of the tenant")
	flags.StringVar(&users, "users", "known", "whose events are accepted: known (404 unless upserted before) or any")
	flags.StringArrayVar(&fail, "fail", nil, "`rule` such as 5%:503, 1%:500:after (processed, then failed) or 1%:404:html (a proxy's page); may be repeated")
	flags.DurationVar(&retryAfter, "retry-after", 0, "`time` to send as Retry-After with injected failures")
	flags.DurationVar(&latency, "latency", 0, "`time` that every answer takes")
	flags.StringVar(&resetRate, "reset", "0%", "`share` of connections to reset, half of them after processing")
	flags.StringVar(&timeoutRate, "timeout", "0%", "`share` of requests never to answer, half of them after processing")
	flags.BoolVar(&burnKeys, "burn-keys", false, "failed attempts use up their idempotency key")
	flags.DurationVar(&jobTime, "job-time", 0, "`time` that an import job takes")
	flags.StringVar(&abortJob, "abort-job", "0", "`which` import jobs to abort: 1 for the first one, or a share such as 10%")
	flags.IntVar(&abortAfter, "abort-after", 0, "`number` of records that an aborted job has processed; 0 for half of them")
	flags.StringArrayVar(&refuseRecords, "refuse-records", nil, "`rule` such as 2%:400 or 1%:500:after (processed, then reported as failed) for valid records of imports; may be repeated")
	flags.IntVar(&recordBase, "record-base", 1, "`number` of the first record in the error file of an import: 0 or 1")
	return cmd
}

func parseJobFaults(abortJob string, refuse []string) (faults sandbox.JobFaults, err error) {
	var errs []error
	if faults.AbortFirst, faults.AbortRate, err = sandbox.ParseAbort(abortJob); err != nil {
		errs = append(errs, fmt.Errorf("--abort-job: %w", err))
	}
	for _, text := range refuse {
		rule, err := sandbox.ParseFail(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("--refuse-records: %w", err))
		}
		faults.RefuseRecords = append(faults.RefuseRecords, rule)
	}
	return faults, errors.Join(errs...)
}

func parseFaults(fail []string, resetRate, timeoutRate string, retryAfter time.Duration) (faults sandbox.Faults, err error) {
	var errs []error
	for _, text := range fail {
		rule, err := sandbox.ParseFail(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("--fail: %w", err))
		}
		if rule.RetryAfter == 0 {
			rule.RetryAfter = retryAfter
		}
		faults.Fail = append(faults.Fail, rule)
	}
	if faults.ResetRate, err = sandbox.ParseRate(resetRate); err != nil {
		errs = append(errs, fmt.Errorf("--reset: %w", err))
	}
	if faults.TimeoutRate, err = sandbox.ParseRate(timeoutRate); err != nil {
		errs = append(errs, fmt.Errorf("--timeout: %w", err))
	}
	return faults, errors.Join(errs...)
}

func newSandboxServer(address net.Addr, handler http.Handler, stderr io.Writer) *http.Server {
	return &http.Server{
		Handler:           httpserver.LoopbackHosts(address, handler),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          log.New(stderr, "sandbox: ", log.LstdFlags),
	}
}

// serveUntil serves until ctx ends.
func serveUntil(ctx context.Context, server *http.Server, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// embeddedSandbox is the sandbox of serve --sandbox.
type embeddedSandbox struct {
	server  *http.Server
	sandbox *sandbox.Server
	url     string
	// generated names the connections whose shared secret was made up here.
	generated map[string]bool
	dataDir   string // removed at the end, empty for none
}

// newEmbeddedSandbox starts a sandbox on a free port of the loopback interface.
func newEmbeddedSandbox(stderr io.Writer) (*embeddedSandbox, string, error) {
	key := "TEST_" + uuid.NewString()
	handler, err := sandbox.New(sandbox.Options{Tenants: map[string]string{sandboxTenant: key}, Users: sandbox.AnyUser})
	if err != nil {
		return nil, "", fmt.Errorf("start sandbox: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", fmt.Errorf("listen for sandbox: %w", err)
	}
	server := newSandboxServer(listener.Addr(), handler, stderr)
	go func() { _ = server.Serve(listener) }() // ends with close
	return &embeddedSandbox{server: server, sandbox: handler, url: "http://" + listener.Addr().String(), generated: make(map[string]bool)}, key, nil
}

func (e *embeddedSandbox) close() {
	_ = e.server.Close()
	_ = e.sandbox.Close()
	if e.dataDir != "" {
		_ = os.RemoveAll(e.dataDir) // what cannot be removed is in the system's directory for that
	}
}
