package main

import (
	"context"
	"crypto/rand"
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

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/config"
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
	fail, bulkLists, refuseRecords   []string
	latency, retryAfter, jobTime     time.Duration
	burnKeys, bulkItems              bool
	recordBase, abortAfter           int
	bulkLimit                        int
	bulkBytes                        int64
}

func (p *program) sandboxCommand() *cobra.Command {
	var f sandboxFlags
	cmd := command("sandbox", "Run a simulated SaaSquatch", `
Sandbox runs a simulated SaaSquatch. It has the Track User Event call, user upsert and
look-up, bulk calls of GraphQL for several events or users, bulk imports of events and
users through upload and GraphQL, and idempotency keys with their 24 hours. It has
SaaSquatch's validation and errors, and faults on demand. It keeps uploads and the
results of imports on the disk until it ends, and the rest in memory. The page
/_sandbox/ shows the received data. /_sandbox/events and /_sandbox/stats have them as
JSON.`)
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
		serving := newSandboxServer(listener.Addr(), server, p.stderr)
		defer context.AfterFunc(cmd.Context(), func() { _ = serving.Close() })()
		if err := serving.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return failed(fmt.Errorf("serve: %w", err))
		}
		return nil
	}
	flags := cmd.Flags()
	flags.StringVar(&f.address, "listen-addr", "127.0.0.1:4000", "listen on this `address`")
	flags.StringVar(&f.tenant, "tenant", sandboxTenant, "`alias` of the only tenant")
	flags.StringVar(&f.apiKey, "api-key", sandboxKey, "API `key` of the tenant")
	flags.StringVar(&f.users, "users", "known", "accept the events of these users: known (others get a 404) or any")
	flags.StringArrayVar(&f.fail, "fail", nil, "fail requests by this `rule`, such as 5%:503, "+
		"1%:500:after (processed, then failed) or 1%:404:html (a proxy's page); may be repeated (default: none)")
	flags.DurationVar(&f.retryAfter, "retry-after", 0, "send this `time` as Retry-After with faults; 0 is none")
	flags.DurationVar(&f.latency, "latency", 0, "delay each answer by this `time`, such as 100ms; 0 is no delay")
	flags.StringVar(&f.resetRate, "reset", "0%", "reset this `share` of connections, half of them after processing")
	flags.StringVar(&f.timeoutRate, "timeout", "0%", "never answer this `share` of requests, half after processing")
	flags.BoolVar(&f.burnKeys, "burn-keys", false, "let failed attempts use up their idempotency key")
	flags.BoolVar(&f.bulkItems, "bulk-items", false, "let --fail strike each event or user of a bulk call, "+
		"instead of the call")
	flags.StringArrayVar(&f.bulkLists, "bulk-list", nil, "change the lists that bulk calls answer by this `rule`, "+
		"such as shuffled (all of them) or 5%:short; others are long, null (an element) and missing (the list); may "+
		"be repeated (default: none)")
	flags.IntVar(&f.bulkLimit, "bulk-limit", 100, "refuse a bulk call for more than this `number` of events or users "+
		"with a 400")
	flags.Int64Var(&f.bulkBytes, "bulk-bytes", 1<<20, "refuse a bulk call with a body of more `bytes` with a 413")
	flags.DurationVar(&f.jobTime, "job-time", 0, "let an import job take this `time`, such as 2s; 0 ends it at once")
	flags.StringVar(&f.abortJob, "abort-job", "0", "abort the first `jobs`, by number, or a share of all, such as 10%")
	flags.IntVar(&f.abortAfter, "abort-after", 0, "let an aborted job process this `number` of records; 0 is half")
	flags.StringArrayVar(&f.refuseRecords, "refuse-records", nil, "refuse valid records of imports by this `rule`, "+
		"such as 2%:400 or 1%:500:after (processed, then reported as failed); may be repeated (default: none)")
	flags.IntVar(&f.recordBase, "record-base", 1, "`number` of the first record in an error file of imports: 0 or 1")
	return cmd
}

// options reads the flags. It returns all faults, joined.
func (f *sandboxFlags) options() (sandbox.Options, error) {
	o := sandbox.Options{
		Tenants: map[string]string{f.tenant: f.apiKey}, BurnKeys: f.burnKeys, JobTime: f.jobTime,
		BulkLimit: f.bulkLimit, BulkBytes: f.bulkBytes,
	}
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
	if f.bulkLimit < 1 {
		read("bulk-limit", fmt.Errorf("%d: want at least 1", f.bulkLimit))
	}
	if f.bulkBytes < 1 {
		read("bulk-bytes", fmt.Errorf("%d: want at least 1", f.bulkBytes))
	}
	o.Faults.BulkItems = f.bulkItems
	for _, text := range f.bulkLists {
		rule, err := sandbox.ParseListRule(text)
		read("bulk-list", err)
		o.Faults.Lists = append(o.Faults.Lists, rule)
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

// embeddedSandbox is the sandbox of serve --sandbox.
type embeddedSandbox struct {
	server  *http.Server
	sandbox *sandbox.Server
	url     string
	// generated names the connections whose shared secret is generated.
	generated map[string]bool
	dataDir   string // removed at the end, empty for none
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
	key := "TEST_" + uuid.NewString()
	tenants := map[string]string{sandboxTenant: key}
	handler, err := sandbox.New(sandbox.Options{Tenants: tenants, Users: sandbox.AnyUser})
	if err != nil {
		return fmt.Errorf("start sandbox: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for sandbox: %w", err)
	}
	server := newSandboxServer(listener.Addr(), handler, s.stderr)
	go func() { _ = server.Serve(listener) }() // ends with close
	embedded := &embeddedSandbox{
		server: server, sandbox: handler, url: "http://" + listener.Addr().String(), generated: make(map[string]bool),
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
