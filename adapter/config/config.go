package config

import (
	"net/netip"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Config is the configuration of one process. [Load] and [Default] return one.
type Config struct {
	// ListenAddr is the address to listen on, host:port. An empty host means every interface, port 0 a free port.
	// Default: ":8080".
	ListenAddr string
	// Delivery says how events reach SaaSquatch. Default: durable.
	Delivery Delivery
	// DataDir is the directory of the SQLite store, which durable delivery uses unless Store is set. Default: ./data.
	DataDir string
	// Store is the URL of a PostgreSQL database that stores events instead. Several processes can share it. It is a
	// secret because it may contain a password. Default: none.
	Store adapter.Secret
	// RetryHorizon is how long durable delivery retries an event, 1 minute to 23 h 30 min. SaaSquatch forgets an
	// idempotency key after 24 h. Default: 23 h.
	RetryHorizon time.Duration
	// UnkeyedAmbiguous says what happens to an event without an idempotency key that SaaSquatch may have processed.
	// Default: retry.
	UnkeyedAmbiguous UnkeyedAmbiguous
	// LedgerRetention is how long durable delivery remembers what it delivered, at least 24 h. Default: 90 days.
	LedgerRetention time.Duration
	// DeadRetention is how long dead and rejected events are kept, with their payloads; 0 keeps them for ever.
	// Default: 90 days.
	DeadRetention time.Duration
	// KeepPayloads is how long the payload of a delivered event is kept, 0 to LedgerRetention. Default: 0, which drops
	// it at delivery.
	KeepPayloads time.Duration
	// Backlog limits the pending events.
	Backlog Backlog
	// DeadLetters limits the payloads of dead and rejected events.
	DeadLetters DeadLetters
	// Admin is the address and the tokens of the metrics and the admin API.
	Admin Admin
	// BodyLimit is the largest request body in bytes, counted after decompression, from 64 KiB to 256 MiB.
	// Default: 10 MiB.
	BodyLimit int64
	// MaxOpenConnections is how many connections senders may have open at once, from 16 to 1 000 000. The process
	// derives 0 from its limits of open files and of memory, up to 2048. Default: 0.
	MaxOpenConnections int
	// RequestMemory is how many bytes of memory all requests without an answer yet may hold: 0, or at least 16 MiB and
	// three times BodyLimit. Default: 0, which is a quarter of the process's memory limit, 128 MiB at most.
	RequestMemory int64
	// TrustedProxies are the networks whose X-Forwarded-For header names the sender of a request. Default: none.
	TrustedProxies []netip.Prefix
	// AnswerBudget is how long the answer to Segment waits for direct delivery, above 0 and at most 60 s. Segment
	// documents that it waits 5 s. Default: 4 s.
	AnswerBudget time.Duration
	// ShutdownDelay is how long a stopping process, no longer ready, still accepts requests, 0 to 5 minutes. Load
	// balancers then notice before it stops listening. Default: 0.
	ShutdownDelay time.Duration
	// ShutdownTimeout is how long a stopping process waits for requests in flight, above 0 and at most 10 minutes.
	// Default: 30 s.
	ShutdownTimeout time.Duration
	// TLS is the certificate to serve with. Default: none, plain HTTP.
	TLS TLS
	// Log is the level and the format of the log.
	Log Log
	// Insecure accepts requests without any credential. Default: false.
	Insecure bool
	// Connections lists the webhooks and their tenants, at least one. Default: one, named default, at /segment.
	Connections []Connection

	// several says that the file has a list of connections. It gives the keys of faults their prefix.
	several bool
	// origins maps the keys of settings to where their values came from. It has no values, because fmt prints
	// unexported fields without calling their methods.
	origins map[string]origin
	// commas has the keys of credentials that the file has as one text with a comma.
	commas map[string]bool
}

// Delivery says how events reach SaaSquatch.
type Delivery string

const (
	// DeliveryDurable stores the events of a request before the answer and sends them afterwards.
	DeliveryDurable Delivery = "durable"
	// DeliveryDirect sends the events of a request before the answer and stores nothing.
	DeliveryDirect Delivery = "direct"
)

// UnkeyedAmbiguous says what happens to an event without an idempotency key after an attempt that SaaSquatch may have
// processed. It is unknown whether it has.
type UnkeyedAmbiguous string

const (
	// UnkeyedRetry sends it again: it may arrive twice.
	UnkeyedRetry UnkeyedAmbiguous = "retry"
	// UnkeyedDead makes it a dead letter: it may never have arrived.
	UnkeyedDead UnkeyedAmbiguous = "dead"
)

// Backlog limits the pending events of durable delivery. Each connection has a share. Above its share, the
// connection's requests get 503 and none of their events is stored. Requests of other connections are not affected.
type Backlog struct {
	// MaxEvents is how many events may be pending, at least 1 for each connection. Default: 10 000 000.
	MaxEvents int
	// MaxBytes is their total size, at least 1 MiB for each connection. Default: 16 GiB.
	MaxBytes int64
	// MinFreeDisk is how many bytes of the SQLite store's disk must stay free; 0 for no limit. Default: 256 MiB.
	MinFreeDisk int64
}

// DeadLetters limits the payloads of dead and rejected events.
type DeadLetters struct {
	// MaxBytes is their total size, at least 1 MiB. Above it the oldest are dropped: payloads of rejected events
	// first, and payloads of dead events only if no rejected event has one. Default: 4 GiB.
	MaxBytes int64
}

// Admin is the address and the tokens of the metrics and the admin API.
type Admin struct {
	// ListenAddr is host:port, or none to serve neither. Default: 127.0.0.1:9090.
	ListenAddr string
	// Token lists the bearer tokens of the admin API, each of 16 characters or more. Without one only the metrics are
	// served. Default: none.
	Token []adapter.Secret
}

// noAddress means that there is no address to listen on. An empty environment variable cannot say so: it counts as
// unset.
const noAddress = "none"

// Enabled reports whether there is an address to listen on.
func (a Admin) Enabled() bool { return a.ListenAddr != "" && a.ListenAddr != noAddress }

// TLS names the certificate to serve with: both files or neither.
type TLS struct {
	// CertFile is the path of the PEM certificate chain. Default: "".
	CertFile string
	// KeyFile is the path of the PEM private key. Default: "".
	KeyFile string
}

// Log is the level and the format of the log.
type Log struct {
	// Level is debug, info, warn or error. Default: info.
	Level string
	// Format is json, console, or auto: console on a terminal, json otherwise. Default: auto.
	Format string
}

// Connection sends the events of one webhook to one tenant.
type Connection struct {
	// Name is unique: 1 to 63 characters of a-z, 0-9, _ and -, beginning with a letter or digit. Default: default.
	Name string
	// Path is the unique URL path of the webhook, without a slash at the end. Default: /segment.
	Path string
	// Segment holds the credentials that requests may carry.
	Segment Segment
	// SaaSquatch is the tenant that receives the events.
	SaaSquatch SaaSquatch
	// EnsureUsers says when a user whom SaaSquatch may not know is upserted for an event. Default: after.
	EnsureUsers EnsureUsers
	// Share is the connection's part of the Backlog.
	Share Share
	// Mapping turns Segment events into user events. Default: mapping.DefaultRules.
	Mapping mapping.Rules
}

// EnsureUsers says when a user whom SaaSquatch may not know is upserted for an event whose mapping asks for that.
type EnsureUsers string

const (
	// EnsureAfter upserts after SaaSquatch has refused the event with 404. It costs no call if the user is known.
	EnsureAfter EnsureUsers = "after"
	// EnsureBefore upserts before the event, unless this process knows the user. No 404 then uses up the event's
	// idempotency key.
	EnsureBefore EnsureUsers = "before"
)

// Segment holds the credentials of incoming requests. A request must satisfy every kind that is configured, by any one
// of its values: several values allow rotation. BearerToken and BasicKey share a header and are one kind.
type Segment struct {
	// SharedSecret lists the keys of X-Signature. Default: none.
	SharedSecret []adapter.Secret
	// BearerToken lists tokens of Authorization: Bearer. Default: none.
	BearerToken []adapter.Secret
	// BasicKey lists Basic user names, as Segment's partner webhooks send them; none contains a colon. Default: none.
	BasicKey []adapter.Secret
	// Header is a header with a secret value.
	Header Header
	// AllowFirstElementSignature accepts a batch whose signature covers only its first event. A sender that has one
	// signed event can then append others to it. Default: false.
	AllowFirstElementSignature bool
}

// HasCredential reports whether a request could prove its origin.
func (s *Segment) HasCredential() bool {
	return len(s.SharedSecret)+len(s.BearerToken)+len(s.BasicKey)+len(s.Header.Value) > 0
}

// Header is a header whose value is a credential: both parts or neither.
type Header struct {
	// Name is the header's name. Default: "".
	Name string
	// Value lists the values that are accepted. Default: none.
	Value []adapter.Secret
}

// SaaSquatch is one tenant and how to reach it.
type SaaSquatch struct {
	// TenantAlias names the tenant; aliases of test tenants begin with test_. Required.
	TenantAlias string
	// APIKey is the Basic password. It begins with TEST_ or LIVE_, as the tenant is. Required.
	APIKey adapter.Secret
	// UserName is the Basic user name: the AccountSID if the API key is an AuthToken, otherwise empty. Default: "".
	UserName string
	// BaseURL is scheme and host, without a slash at the end. Plain http only reaches loopback hosts.
	// Default: https://app.referralsaasquatch.com.
	BaseURL string
	// Concurrency is how many requests for the tenant may be in flight, 1 to 1000. Durable delivery adapts the number
	// to the tenant, up to this limit. Default: 64.
	Concurrency int
	// MinConcurrency is how many requests in flight durable delivery always allows, at least 1. Above Concurrency it
	// counts as Concurrency. Default: 4.
	MinConcurrency int
	// RateLimit is how many attempts at events start per second; 0 sets no limit. An attempt is one request unless it
	// upserts a user, or shares a bulk call with others. Default: 0.
	RateLimit float64
	// Bulk is how many events durable delivery puts into one call at most, 1 to adapter.MaxBulk; with 1 each event is
	// a request of its own. Direct delivery always sends each event by itself. Default: 1.
	Bulk int
	// AttemptTimeout is how long one attempt at an event may take with all its requests, above 0 and at most 60 s.
	// Default: 10 s.
	AttemptTimeout time.Duration
}

// Default returns the configuration that holds if nothing is set. It lacks credentials and a tenant, which have no
// default.
func Default() *Config {
	return &Config{
		ListenAddr:       ":8080",
		Delivery:         DeliveryDurable,
		DataDir:          "./data",
		RetryHorizon:     23 * time.Hour,
		UnkeyedAmbiguous: UnkeyedRetry,
		LedgerRetention:  90 * day,
		DeadRetention:    90 * day,
		Backlog:          Backlog{MaxEvents: 10_000_000, MaxBytes: 16 * gibibyte, MinFreeDisk: 256 * mebibyte},
		DeadLetters:      DeadLetters{MaxBytes: 4 * gibibyte},
		Admin:            Admin{ListenAddr: "127.0.0.1:9090"},
		BodyLimit:        10 * mebibyte,
		AnswerBudget:     4 * time.Second,
		ShutdownTimeout:  30 * time.Second,
		Log:              Log{Level: "info", Format: "auto"},
		Connections:      []Connection{defaultConnection()},
		origins:          map[string]origin{},
		commas:           map[string]bool{},
	}
}

const defaultName = "default"

func defaultConnection() Connection {
	return Connection{
		Name: defaultName,
		Path: "/segment",
		SaaSquatch: SaaSquatch{
			BaseURL:        "https://app.referralsaasquatch.com",
			Concurrency:    64,
			MinConcurrency: 4,
			Bulk:           1,
			AttemptTimeout: 10 * time.Second,
		},
		EnsureUsers: EnsureAfter,
		Mapping:     mapping.DefaultRules(),
	}
}
