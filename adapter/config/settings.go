package config

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"segment-saasquatch/mapping"
)

// Setting describes one setting for the reference.
type Setting struct {
	// Key is its place in the file, such as "saasquatch.api_key". Where the file
	// has connections, keys with PerConnection stand inside each of them.
	Key string
	// Env is its environment variable, empty if it has none.
	Env string
	// Flag is its flag without the dashes, empty if it has none.
	Flag string
	// Kind is its type: text, expression, list, mapping, secret, secrets, bool, int,
	// number, decimal, size or duration.
	Kind string
	// Default is its text, empty if it has none.
	Default string
	// Help is one sentence.
	Help string
	// Secret says that the value is a credential: masked, and without a flag.
	Secret bool
	// PerConnection says that the setting belongs to a connection.
	PerConnection bool
}

// EnvFile returns the environment variable that names a file to read the value
// from, empty if there is none.
func (s Setting) EnvFile() string {
	if s.Env == "" {
		return ""
	}
	return s.Env + "_FILE"
}

// Reference lists every setting, in the order of the documentation.
func Reference() []Setting {
	list := make([]Setting, len(settings))
	for i := range settings {
		list[i] = settings[i].Setting
	}
	return list
}

// setting joins the description of a setting with its field.
type setting struct {
	Setting
	// field returns the setting's field; the Connection is one of the Config's.
	field func(*Config, *Connection) field
	// listOnly says that the setting stands in the list of connections only.
	listOnly bool
}

func process(key, env, help string, bind func(*Config) field) setting {
	return setting{
		Setting: Setting{Key: key, Env: env, Help: help},
		field:   func(c *Config, _ *Connection) field { return bind(c) },
	}
}

func connection(key, env, help string, bind func(*Connection) field) setting {
	return setting{
		Setting: Setting{Key: key, Env: env, Help: help, PerConnection: true},
		field:   func(_ *Config, conn *Connection) field { return bind(conn) },
	}
}

// settings is the table everything is made from. Flags are not in it: they
// have the words of the environment variable.
var settings = complete([]setting{
	process("listen_addr", "LISTEN_ADDR", "address to listen on, host:port",
		func(c *Config) field { return textField[string]{p: &c.ListenAddr} }),
	process("delivery", "DELIVERY", "durable: events are on disk before the answer; direct: they are delivered before it, and nothing is kept",
		func(c *Config) field { return textField[Delivery]{p: &c.Delivery} }),
	process("data_dir", "DATA_DIR", "directory of the SQLite store of durable delivery",
		func(c *Config) field { return textField[string]{p: &c.DataDir} }),
	process("store", "STORE", "postgres:// URL of a database to keep events in instead; several processes can share it",
		func(c *Config) field { return secretField{&c.Store} }),
	process("retry_horizon", "RETRY_HORIZON", "how long durable delivery tries an event, 1m to 23h30m; SaaSquatch forgets its key after 24h",
		func(c *Config) field { return durationField{&c.RetryHorizon} }),
	process("unkeyed_ambiguous", "UNKEYED_AMBIGUOUS", "an event without a key that SaaSquatch may have processed: retry (it may arrive twice) or dead (it may not have arrived)",
		func(c *Config) field { return textField[UnkeyedAmbiguous]{p: &c.UnkeyedAmbiguous} }),
	process("ledger_retention", "LEDGER_RETENTION", "how long delivered events are known, and their redelivery is a duplicate, from 24h",
		func(c *Config) field { return durationField{&c.LedgerRetention} }),
	process("dead_retention", "DEAD_RETENTION", "how long dead and rejected events are kept, with their payloads as far as dead_letters.max_bytes goes; 0s for ever",
		func(c *Config) field { return durationField{&c.DeadRetention} }),
	process("keep_payloads", "KEEP_PAYLOADS", "how long payloads of delivered events are kept, up to ledger_retention; 0s drops them at delivery",
		func(c *Config) field { return durationField{&c.KeepPayloads} }),
	process("backlog.max_events", "BACKLOG_MAX_EVENTS", "how many events may be pending; each connection has a share, beyond which its requests get 503",
		func(c *Config) field { return wholeField{&c.Backlog.MaxEvents} }),
	process("backlog.max_bytes", "BACKLOG_MAX_BYTES", "how large the pending events may be together, from 1MiB for each connection",
		func(c *Config) field { return sizeField{&c.Backlog.MaxBytes} }),
	process("backlog.min_free_disk", "BACKLOG_MIN_FREE_DISK", "room that stays free on the disk of data_dir; 0 for no limit",
		func(c *Config) field { return sizeField{&c.Backlog.MinFreeDisk} }),
	process("dead_letters.max_bytes", "DEAD_LETTERS_MAX_BYTES", "how large the payloads of dead and rejected events may be together, from 1MiB; beyond it the oldest are dropped, rejected ones first",
		func(c *Config) field { return sizeField{&c.DeadLetters.MaxBytes} }),
	process("admin.listen_addr", "ADMIN_LISTEN_ADDR", "address of metrics and admin API, host:port, or none",
		func(c *Config) field { return textField[string]{p: &c.Admin.ListenAddr} }),
	process("admin.token", "ADMIN_TOKEN", "bearer tokens of the admin API, separated by commas; without one there are metrics only",
		func(c *Config) field { return secretsField{&c.Admin.Token} }),
	process("body_limit", "BODY_LIMIT", "largest request body after decompression, 64KiB to 256MiB",
		func(c *Config) field { return sizeField{&c.BodyLimit} }),
	process("max_open_connections", "MAX_OPEN_CONNECTIONS", "how many connections senders may have open, 16 to 1000000; at the bound idle ones are closed; 0: by the limit of open files, up to 2048",
		func(c *Config) field { return wholeField{&c.MaxOpenConnections} }),
	process("request_memory", "REQUEST_MEMORY", "memory of all requests that are not answered yet, from 16MiB and three times body_limit; 0 for a quarter of the process's memory limit, 128MiB at most",
		func(c *Config) field { return sizeField{&c.RequestMemory} }),
	process("trusted_proxies", "TRUSTED_PROXIES", "addresses or networks (CIDR) of proxies whose X-Forwarded-For names the sender, separated by commas",
		func(c *Config) field { return networksField{&c.TrustedProxies} }),
	process("answer_budget", "ANSWER_BUDGET", "how long an answer waits for direct delivery, up to 60s; Segment waits 5s",
		func(c *Config) field { return durationField{&c.AnswerBudget} }),
	process("shutdown_delay", "SHUTDOWN_DELAY", "how long a stopping process, no longer ready, goes on taking requests, up to 5m",
		func(c *Config) field { return durationField{&c.ShutdownDelay} }),
	process("shutdown_timeout", "SHUTDOWN_TIMEOUT", "how long a stopping process waits for requests under way, up to 10m",
		func(c *Config) field { return durationField{&c.ShutdownTimeout} }),
	process("tls.cert_file", "TLS_CERT_FILE", "PEM certificate chain to serve HTTPS with",
		func(c *Config) field { return textField[string]{p: &c.TLS.CertFile} }),
	process("tls.key_file", "TLS_KEY_FILE", "PEM private key of the certificate",
		func(c *Config) field { return textField[string]{p: &c.TLS.KeyFile} }),
	process("log.level", "LOG_LEVEL", "debug, info, warn or error",
		func(c *Config) field { return textField[string]{p: &c.Log.Level} }),
	process("log.format", "LOG_FORMAT", "json, console or auto (console on a terminal)",
		func(c *Config) field { return textField[string]{p: &c.Log.Format} }),
	process("insecure", "INSECURE", "accept requests without any credential",
		func(c *Config) field { return boolField{&c.Insecure} }),

	inListOnly(connection("name", "", "name of the connection, unique; only inside connections",
		func(conn *Connection) field { return textField[string]{p: &conn.Name} })),
	inListOnly(connection("backlog_share.max_events", "", "the connection's share of backlog.max_events; 0 for an equal part of what the others leave; only inside connections",
		func(conn *Connection) field { return wholeField{&conn.Share.MaxEvents} })),
	inListOnly(connection("backlog_share.max_bytes", "", "the connection's share of backlog.max_bytes, from 1MiB; 0 for an equal part of what the others leave; only inside connections",
		func(conn *Connection) field { return sizeField{&conn.Share.MaxBytes} })),
	// Not PATH, which the shell owns.
	connection("path", "WEBHOOK_PATH", "URL path of the webhook, unique",
		func(conn *Connection) field { return textField[string]{&conn.Path, checkPath} }),
	connection("segment.shared_secret", "SEGMENT_SHARED_SECRET", "keys of X-Signature; several, separated by commas, for rotation",
		func(conn *Connection) field { return secretsField{&conn.Segment.SharedSecret} }),
	connection("segment.bearer_token", "SEGMENT_BEARER_TOKEN", "accepted tokens of Authorization: Bearer, separated by commas",
		func(conn *Connection) field { return secretsField{&conn.Segment.BearerToken} }),
	connection("segment.basic_key", "SEGMENT_BASIC_KEY", "accepted Basic user names (partner webhooks), separated by commas",
		func(conn *Connection) field { return secretsField{&conn.Segment.BasicKey} }),
	connection("segment.header.name", "SEGMENT_HEADER_NAME", "name of a header whose value is a credential",
		func(conn *Connection) field { return textField[string]{&conn.Segment.Header.Name, checkHeaderName} }),
	connection("segment.header.value", "SEGMENT_HEADER_VALUE", "accepted values of that header, separated by commas",
		func(conn *Connection) field { return secretsField{&conn.Segment.Header.Value} }),
	connection("segment.allow_first_element_signature", "ALLOW_FIRST_ELEMENT_SIGNATURE", "accept batches whose signature covers their first event only",
		func(conn *Connection) field { return boolField{&conn.Segment.AllowFirstElementSignature} }),
	connection("saasquatch.tenant_alias", "SAASQUATCH_TENANT_ALIAS", "alias of the tenant; required",
		func(conn *Connection) field { return textField[string]{&conn.SaaSquatch.TenantAlias, checkTenantAlias} }),
	connection("saasquatch.api_key", "SAASQUATCH_API_KEY", "API key of the tenant; required",
		func(conn *Connection) field { return secretField{&conn.SaaSquatch.APIKey} }),
	connection("saasquatch.user_name", "SAASQUATCH_USER_NAME", "Basic user name: the AccountSID where the API key is an AuthToken",
		func(conn *Connection) field { return textField[string]{&conn.SaaSquatch.UserName, checkUserName} }),
	connection("saasquatch.base_url", "SAASQUATCH_BASE_URL", "scheme and host of SaaSquatch; plain http only to loopback",
		func(conn *Connection) field {
			return baseURLField{textField[string]{&conn.SaaSquatch.BaseURL, checkBaseURL}}
		}),
	connection("saasquatch.concurrency", "SAASQUATCH_CONCURRENCY", "most requests under way at once for the tenant, 1 to 1000",
		func(conn *Connection) field { return wholeField{&conn.SaaSquatch.Concurrency} }),
	connection("saasquatch.min_concurrency", "SAASQUATCH_MIN_CONCURRENCY", "requests under way at once that durable delivery allows however slow the tenant is",
		func(conn *Connection) field { return wholeField{&conn.SaaSquatch.MinConcurrency} }),
	connection("saasquatch.rate_limit", "SAASQUATCH_RATE_LIMIT", "events sent per second to the tenant, 0 for no limit; upserts of their users come on top",
		func(conn *Connection) field { return numberField{&conn.SaaSquatch.RateLimit} }),
	connection("saasquatch.attempt_timeout", "SAASQUATCH_ATTEMPT_TIMEOUT", "how long one attempt at an event may take with all its requests, up to 60s",
		func(conn *Connection) field { return durationField{&conn.SaaSquatch.AttemptTimeout} }),
	connection("account_id", "", "paths whose first non-blank string or number is the accountId",
		func(conn *Connection) field { return textsField{&conn.Mapping.AccountID} }),
	connection("placeholder_user_ids", "", "userIds that stand for no user, in any case; [] for none",
		func(conn *Connection) field { return wordsField{textsField{&conn.Mapping.PlaceholderUserIDs}} }),
	connection("invalid_values", "", "what becomes of values SaaSquatch does not support: stringify, null or discard_event",
		func(conn *Connection) field {
			return invalidValuesField{textField[mapping.InvalidValues]{p: &conn.Mapping.InvalidValues}}
		}),
	connection("any_age", "", "send events of any age",
		func(conn *Connection) field { return boolField{&conn.Mapping.AnyAge} }),
	connection("max_age", "", "oldest event to send",
		func(conn *Connection) field { return durationField{&conn.Mapping.MaxAge} }),
	connection("max_ahead", "", "how far in the future an event may be",
		func(conn *Connection) field { return durationField{&conn.Mapping.MaxAhead} }),
	connection("events.only", "", "names of the only events to send",
		func(conn *Connection) field { return textsField{&conn.Mapping.Only} }),
	connection("events.except", "", "names of events not to send",
		func(conn *Connection) field { return textsField{&conn.Mapping.Except} }),
	connection("events.keys", "", "event keys for event names, sent verbatim",
		func(conn *Connection) field { return textMapField{&conn.Mapping.Keys} }),
	connection("events.remap_orders", "", "make Order Completed a purchase and Order Refunded a refund",
		func(conn *Connection) field { return boolField{&conn.Mapping.RemapOrders} }),
	connection("events.conform_orders", "", "fit purchase and refund to SaaSquatch's closed schemas",
		func(conn *Connection) field { return boolField{&conn.Mapping.ConformOrders} }),
	connection("events.revenue_scale", "", "multiplies the money fields of purchase and refund",
		func(conn *Connection) field { return decimalField{textField[string]{p: &conn.Mapping.RevenueScale}} }),
	connection("events.transform", "", "JSONata expression over a mapped event that yields the one to send instead",
		func(conn *Connection) field { return expressionField{&conn.Mapping.Transform} }),
	connection("users.identify", "", "upsert the users of identify calls",
		func(conn *Connection) field { return boolField{&conn.Mapping.Identify} }),
	connection("users.segments", "", "JSONata expression over an identify call that yields its segment operations",
		func(conn *Connection) field { return expressionField{&conn.Mapping.Segments} }),
	connection("users.invalid_segments", "", "what becomes of segment operations SaaSquatch does not take: discard_invalid, discard_all or sanitize",
		func(conn *Connection) field {
			return textField[mapping.InvalidSegments]{p: &conn.Mapping.InvalidSegments}
		}),
	connection("users.from_track", "", "whether the user of a track call is upserted: never, missing or always, or a JSONata expression over the call that yields NEVER, MISSING_USER or ALWAYS",
		func(conn *Connection) field { return expressionField{&conn.Mapping.FromTrack} }),
	connection("users.from_track_body", "", "JSONata expression over a track call that yields the fields of that upsert; without one it has the ids alone",
		func(conn *Connection) field { return expressionField{&conn.Mapping.FromTrackBody} }),
	connection("users.ensure", "", "when the missing user of an event is upserted: after a 404 to the event, or before the event unless this process knows the user",
		func(conn *Connection) field { return textField[EnsureUsers]{p: &conn.EnsureUsers} }),
})

func inListOnly(s setting) setting {
	s.listOnly = true
	return s
}

// complete derives what the table leaves out.
func complete(table []setting) []setting {
	c := Default()
	for i := range table {
		s := &table[i]
		f := s.field(c, &c.Connections[0])
		s.Kind = f.kind().name
		s.Secret = s.Kind == kindSecret.name || s.Kind == kindSecrets.name
		if s.Env != "" && !s.Secret {
			s.Flag = strings.ReplaceAll(strings.ToLower(s.Env), "_", "-")
		}
		s.Default = nodeText(f.node())
	}
	return table
}

func nodeText(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return n.Value
	}
	var elements []string
	for _, element := range n.Content {
		elements = append(elements, element.Value)
	}
	return strings.Join(elements, ", ")
}

// section is one level of the file: settings and further sections by name.
type section struct {
	// names lists both in the order of the table.
	names    []string
	settings map[string]*setting
	sections map[string]*section
}

const connectionsKey = "connections"

var (
	rootSection       = newSection(func(s *setting) bool { return !s.listOnly })
	connectionSection = newSection(func(s *setting) bool { return s.PerConnection })
)

func newSection(pick func(*setting) bool) *section {
	root := emptySection()
	for i := range settings {
		s := &settings[i]
		if !pick(s) {
			continue
		}
		at, parts := root, strings.Split(s.Key, ".")
		for _, name := range parts[:len(parts)-1] {
			if at.sections[name] == nil {
				at.sections[name] = emptySection()
				at.names = append(at.names, name)
			}
			at = at.sections[name]
		}
		leaf := parts[len(parts)-1]
		at.settings[leaf] = s
		at.names = append(at.names, leaf)
	}
	return root
}

func emptySection() *section {
	return &section{settings: map[string]*setting{}, sections: map[string]*section{}}
}

func (s *section) has(name string) bool { return slices.Contains(s.names, name) }

// perConnection reports whether the name begins the keys of a connection's settings.
func perConnection(name string) bool { return connectionSection.has(name) }
