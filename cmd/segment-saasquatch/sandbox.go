package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/httpserver"
	"segment-saasquatch/adapter/sandbox"
)

// Defaults of the sandbox's tenant.
const (
	sandboxTenant = "test_sandbox"
	sandboxKey    = "TEST_sandbox"
)

// sandboxFlags are the flags of sandbox.
type sandboxFlags struct {
	address, tenant, apiKey, users   string
	resetRate, timeoutRate, abortJob string
	fail, refuseRecords              []string
	latency, retryAfter, jobTime     time.Duration
	burnKeys                         bool
	recordBase, abortAfter           int
}

func (p *program) sandboxCommand() *cobra.Command {
	var f sandboxFlags
	cmd := command("sandbox", "Run a simulated SaaSquatch", `
Sandbox runs a simulated SaaSquatch. It has the Track User Event call, user upsert and
look-up, bulk imports of events and users through upload and GraphQL, and idempotency
keys with their 24 hours. It has SaaSquatch's validation and errors, and faults on
demand. It keeps uploads and the results of imports on the disk until it ends, and the
rest in memory. The page /_sandbox/ shows the requests. /_sandbox/events and
/_sandbox/stats have them as JSON.`)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		options, err := f.options()
		if err != nil {
			return err
		}
		server, err := sandbox.New(options)
		if err != nil {
			return err
		}
		defer func() { _ = server.Close() }() // it never fails
		listener, err := net.Listen("tcp", f.address)
		if err != nil {
			return failed(fmt.Errorf("listen on %s: %w", f.address, err))
		}
		fmt.Fprintf(p.stdout, "simulated SaaSquatch: http://%s\n  page     http://%[1]s/_sandbox/\n"+
			"  tenant   SAASQUATCH_TENANT_ALIAS=%s\n  API key  SAASQUATCH_API_KEY=%s\n"+
			"  base URL SAASQUATCH_BASE_URL=http://%[1]s\n", listener.Addr(), f.tenant, f.apiKey)
		return failed(serveUntil(cmd.Context(), newSandboxServer(listener.Addr(), server, p.stderr), listener))
	}
	flags := cmd.Flags()
	flags.StringVar(&f.address, "listen-addr", "127.0.0.1:4000", "listen on this `address`")
	flags.StringVar(&f.tenant, "tenant", sandboxTenant, "`alias` of the only tenant")
	flags.StringVar(&f.apiKey, "api-key", sandboxKey, "API `key` of the tenant")
	flags.StringVar(&f.users, "users", "known", "accept the events of these users: known (others get a 404) or any")
	flags.StringArrayVar(&f.fail, "fail", nil, "fail requests by this `rule`, such as 5%:503, "+
		"1%:500:after (processed, then failed) or 1%:404:html (a proxy's page); may be repeated (default: none)")
	flags.DurationVar(&f.retryAfter, "retry-after", 0, "send this `time` as Retry-After with faults; 0 is none")
	flags.DurationVar(&f.latency, "latency", 0, "delay each answer by this `time`")
	flags.StringVar(&f.resetRate, "reset", "0%", "reset this `share` of connections, half of them after processing")
	flags.StringVar(&f.timeoutRate, "timeout", "0%", "never answer this `share` of requests, half after processing")
	flags.BoolVar(&f.burnKeys, "burn-keys", false, "let failed attempts use up their idempotency key")
	flags.DurationVar(&f.jobTime, "job-time", 0, "let an import job take this `time`")
	flags.StringVar(&f.abortJob, "abort-job", "0", "abort the first `jobs`, by number, or a share of all, such as 10%")
	flags.IntVar(&f.abortAfter, "abort-after", 0, "let an aborted job process this `number` of records; 0 is half")
	flags.StringArrayVar(&f.refuseRecords, "refuse-records", nil, "refuse valid records of imports by this `rule`, "+
		"such as 2%:400 or 1%:500:after (processed, then reported as failed); may be repeated (default: none)")
	flags.IntVar(&f.recordBase, "record-base", 1, "`number` of the first record in an error file of imports: 0 or 1")
	return cmd
}

// options reads the flags. It returns all faults, joined.
func (f *sandboxFlags) options() (sandbox.Options, error) {
	o := sandbox.Options{Tenants: map[string]string{f.tenant: f.apiKey}, BurnKeys: f.burnKeys, JobTime: f.jobTime}
	var faults []error
	read := func(flag string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	rules := func(flag string, texts []string) []sandbox.FailRule {
		list := make([]sandbox.FailRule, len(texts))
		for i, text := range texts {
			rule, err := sandbox.ParseFail(text)
			read(flag, err)
			list[i] = rule
		}
		return list
	}
	switch f.users {
	case "known":
		o.Users = sandbox.KnownUsers
	case "any":
		o.Users = sandbox.AnyUser
	default:
		read("users", fmt.Errorf("%q: want known or any", f.users))
	}
	switch f.recordBase {
	case 0:
		o.RecordNumberBase = sandbox.RecordsFromZero
	case 1:
		o.RecordNumberBase = sandbox.RecordsFromOne
	default:
		read("record-base", fmt.Errorf("%d: want 0 or 1", f.recordBase))
	}
	var err error
	o.Faults.Latency, o.Faults.Fail = f.latency, rules("fail", f.fail)
	for i := range o.Faults.Fail {
		if o.Faults.Fail[i].RetryAfter == 0 {
			o.Faults.Fail[i].RetryAfter = f.retryAfter
		}
	}
	o.Faults.ResetRate, err = sandbox.ParseRate(f.resetRate)
	read("reset", err)
	o.Faults.TimeoutRate, err = sandbox.ParseRate(f.timeoutRate)
	read("timeout", err)
	o.Jobs.AbortFirst, o.Jobs.AbortRate, err = sandbox.ParseAbort(f.abortJob)
	read("abort-job", err)
	o.Jobs.AbortAfter, o.Jobs.RefuseRecords = f.abortAfter, rules("refuse-records", f.refuseRecords)
	return o, errors.Join(faults...)
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
