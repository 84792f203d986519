package config

import (
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Config is the configuration of one process. Get one from [Load] or [Default].
type Config struct {
	// ListenAddr is the address to listen on, host:port; an empty host means
	// every interface, port 0 a free port. Default: ":8080".
	ListenAddr string
	// Delivery says how events reach SaaSquatch. Default: direct.
	Delivery Delivery
	// DataDir is the directory of everything that is kept on disk. Direct
	// delivery writes nothing there. Default: ./data.
	DataDir string
	// BodyLimit bounds a request body in bytes, counted after decompression,
	// from 64 KiB to 256 MiB. Default: 10 MiB.
	BodyLimit int64
	// AnswerBudget is how long the answer to Segment waits for direct delivery,
	// above 0 and at most 60 s. Segment documents that it waits 5 s. Default: 4 s.
	AnswerBudget time.Duration
	// ShutdownDelay is how long a stopping process, no longer ready, goes on taking
	// requests, so that load balancers notice before it stops listening; 0 to 5
	// minutes. Default: 0.
	ShutdownDelay time.Duration
	// ShutdownTimeout is how long a stopping process waits for requests under
	// way, above 0 and at most 10 minutes. Default: 30 s.
	ShutdownTimeout time.Duration
	// TLS is the certificate to serve with. Default: none, plain HTTP.
	TLS TLS
	// Log says what is logged and how.
	Log Log
	// Insecure accepts requests without any credential. Default: false.
	Insecure bool
	// Connections lists what to receive and where to send it, at least one.
	// Default: one, named default, at /segment.
	Connections []Connection

	// several says that the file has the list form, which gives the keys of faults
	// their prefix.
	several bool
	// origins maps the keys of settings to where their values came from. It holds
	// no values, since fmt prints unexported fields without asking their types.
	origins map[string]origin
}

// Delivery says how events reach SaaSquatch.
type Delivery string

const (
	// DeliveryDirect sends an event before the request that brought it is answered.
	DeliveryDirect Delivery = "direct"
	// DeliveryDurable stores events first. This version refuses it.
	DeliveryDurable Delivery = "durable"
)

// TLS names the certificate to serve with: both files or neither.
type TLS struct {
	// CertFile is the path of the PEM certificate chain. Default: "".
	CertFile string
	// KeyFile is the path of the PEM private key. Default: "".
	KeyFile string
}

// Log says what is logged and how.
type Log struct {
	// Level is debug, info, warn or error. Default: info.
	Level string
	// Format is json, console, or auto: console on a terminal, json otherwise.
	// Default: auto.
	Format string
}

// Connection takes the events of one webhook to one tenant.
type Connection struct {
	// Name is unique, up to 63 of a-z, 0-9, _ and -, beginning with a letter or
	// digit. Default: default.
	Name string
	// Path is the URL path of the webhook, unique, without a slash at the end.
	// Default: /segment.
	Path string
	// Segment holds the credentials that requests may carry.
	Segment Segment
	// SaaSquatch is the tenant that events go to.
	SaaSquatch SaaSquatch
	// Mapping turns Segment events into user events. Default: mapping.DefaultRules.
	Mapping mapping.Rules
}

// Segment holds the credentials of incoming requests. A request must satisfy
// every kind that is configured, by any one of its values: several values allow
// for rotation. BearerToken and BasicKey share a header and are one kind.
type Segment struct {
	// SharedSecret lists the keys of X-Signature. Default: none.
	SharedSecret []adapter.Secret
	// BearerToken lists tokens of Authorization: Bearer. Default: none.
	BearerToken []adapter.Secret
	// BasicKey lists Basic user names, as Segment's partner webhooks send them;
	// none holds a colon. Default: none.
	BasicKey []adapter.Secret
	// Header is a header with a secret value.
	Header Header
	// AllowFirstElementSignature accepts a batch whose signature covers its first
	// event only, although anyone who holds one signed event can then append
	// others to it. Default: false.
	AllowFirstElementSignature bool
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
	// TenantAlias names the tenant; those of test tenants begin with test_. Required.
	TenantAlias string
	// APIKey is the Basic password; it begins with TEST_ or LIVE_, as the tenant
	// is. Required.
	APIKey adapter.Secret
	// UserName is the Basic user name: the AccountSID where the API key is an
	// AuthToken, otherwise empty. Default: "".
	UserName string
	// BaseURL is scheme and host, without a slash at the end. Plain http only
	// reaches loopback hosts. Default: https://app.referralsaasquatch.com.
	BaseURL string
	// Concurrency is how many requests are under way at once for the tenant, 1 to
	// 1000. Default: 64.
	Concurrency int
	// RateLimit is how many requests start per second; 0 sets no limit. Default: 0.
	RateLimit float64
	// AttemptTimeout is how long one request may take, above 0 and at most 60 s.
	// Default: 10 s.
	AttemptTimeout time.Duration
}

// Default returns the configuration that holds where nothing is set. It lacks
// what has no default: credentials and a tenant.
func Default() *Config {
	return &Config{
		ListenAddr:      ":8080",
		Delivery:        DeliveryDirect,
		DataDir:         "./data",
		BodyLimit:       10 * mebibyte,
		AnswerBudget:    4 * time.Second,
		ShutdownTimeout: 30 * time.Second,
		Log:             Log{Level: "info", Format: "auto"},
		Connections:     []Connection{defaultConnection()},
		origins:         map[string]origin{},
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
			AttemptTimeout: 10 * time.Second,
		},
		Mapping: mapping.DefaultRules(),
	}
}
