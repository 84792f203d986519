package config

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Setting describes one setting for the reference.
type Setting struct {
	// Key is the setting's place in the file, such as "saasquatch.api_key". If the file has a list of connections, the
	// keys of settings with PerConnection are inside each of them.
	Key string
	// Env is the environment variable, empty if there is none.
	Env string
	// Flag is the flag without dashes, empty if there is none. It has the words of the environment variable.
	Flag string
	// Kind is the type: text, expression, list, mapping, secret, secrets, bool, int, number, decimal, size or
	// duration.
	Kind string
	// Default is the text of the default, empty if there is none.
	Default string
	// Help is one sentence.
	Help string
	// Secret says that the value is a credential: it is masked and has no flag.
	Secret bool
	// PerConnection says that the setting belongs to a connection.
	PerConnection bool
}

// EnvFile returns the environment variable that names a file with the value, empty if there is none.
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

// setting joins the description of a setting with its field in one Config and one Connection.
type setting struct {
	Setting
	bound field
	// index is the setting's place in the table.
	index int
	// listOnly says that the setting is only known inside the list of connections.
	listOnly bool
}

// field returns the setting's field in a Config and in one of its Connections.
func (s *setting) field(c *Config, conn *Connection) field { return table(c, conn)[s.index].bound }

func process(key, env string, bound field, help string) setting {
	return setting{Setting: Setting{Key: key, Env: env, Help: help}, bound: bound}
}

func connection(key, env string, bound field, help string) setting {
	return setting{Setting: Setting{Key: key, Env: env, Help: help, PerConnection: true}, bound: bound}
}

func inListOnly(key string, bound field, help string) setting {
	s := connection(key, "", bound, help+"; only inside connections")
	s.listOnly = true
	return s
}

// table lists every setting, with its field in a Config and in one of its Connections. conn may be nil for settings of
// the process.
func table(c *Config, conn *Connection) []setting {
	if conn == nil {
		conn = &Connection{}
	}
	segment, tenant, rules := &conn.Segment, &conn.SaaSquatch, &conn.Mapping
	return []setting{
		process("listen_addr", "LISTEN_ADDR", textField(&c.ListenAddr, nil), "address to listen on, host:port"),
		process("delivery", "DELIVERY", textField(&c.Delivery, nil),
			"durable: events are stored before the answer; "+
				"direct: they are delivered before it, and nothing is stored"),
		process("data_dir", "DATA_DIR", textField(&c.DataDir, nil),
			"directory of the SQLite store of durable delivery"),
		process("store", "STORE", secretField(&c.Store),
			"postgres:// URL of a database to store events in instead; several processes can share it"),
		process("retry_horizon", "RETRY_HORIZON", durationField(&c.RetryHorizon),
			"how long durable delivery retries an event, 1m to 23h30m; SaaSquatch forgets its key after 24h"),
		process("unkeyed_ambiguous", "UNKEYED_AMBIGUOUS", textField(&c.UnkeyedAmbiguous, nil),
			"what happens to an event without a key that SaaSquatch may have processed: "+
				"retry (it may arrive twice) or dead (it may not have arrived)"),
		process("ledger_retention", "LEDGER_RETENTION", durationField(&c.LedgerRetention),
			"how long delivered events are remembered, so that a redelivery is a duplicate, at least 24h"),
		process("dead_retention", "DEAD_RETENTION", durationField(&c.DeadRetention),
			"how long dead and rejected events are kept, with their payloads within dead_letters.max_bytes; "+
				"0s for ever"),
		process("keep_payloads", "KEEP_PAYLOADS", durationField(&c.KeepPayloads),
			"how long payloads of delivered events are kept, up to ledger_retention; 0s drops them at delivery"),
		process("backlog.max_events", "BACKLOG_MAX_EVENTS", wholeField(&c.Backlog.MaxEvents),
			"how many events may be pending; each connection has a share, above which its requests get 503"),
		process("backlog.max_bytes", "BACKLOG_MAX_BYTES", sizeField(&c.Backlog.MaxBytes),
			"total size of the pending events, at least 1MiB for each connection"),
		process("backlog.min_free_disk", "BACKLOG_MIN_FREE_DISK", sizeField(&c.Backlog.MinFreeDisk),
			"free space to leave on the disk of data_dir; 0 for no limit"),
		process("dead_letters.max_bytes", "DEAD_LETTERS_MAX_BYTES", sizeField(&c.DeadLetters.MaxBytes),
			"total size of the payloads of dead and rejected events, at least 1MiB; "+
				"above it the oldest are dropped, rejected ones first"),
		process("admin.listen_addr", "ADMIN_LISTEN_ADDR", textField(&c.Admin.ListenAddr, nil),
			"address of the metrics and the admin API, host:port, or none"),
		process("admin.token", "ADMIN_TOKEN", secretsField(&c.Admin.Token),
			"bearer tokens of the admin API, separated by commas; without one only the metrics are served"),
		process("body_limit", "BODY_LIMIT", sizeField(&c.BodyLimit),
			"largest request body after decompression, 64KiB to 256MiB"),
		process("max_open_connections", "MAX_OPEN_CONNECTIONS", wholeField(&c.MaxOpenConnections),
			"how many connections senders may have open, 16 to 1000000; at the limit idle ones are closed; "+
				"0 derives it from the limit of open files, up to 2048"),
		process("request_memory", "REQUEST_MEMORY", sizeField(&c.RequestMemory),
			"memory of all requests without an answer yet, at least 16MiB and three times body_limit; "+
				"0 for a quarter of the process's memory limit, up to 128MiB"),
		process("trusted_proxies", "TRUSTED_PROXIES", networksField(&c.TrustedProxies),
			"addresses or networks (CIDR) of proxies whose X-Forwarded-For names the sender, separated by commas"),
		process("answer_budget", "ANSWER_BUDGET", durationField(&c.AnswerBudget),
			"how long an answer waits for direct delivery, up to 60s; Segment waits 5s"),
		process("shutdown_delay", "SHUTDOWN_DELAY", durationField(&c.ShutdownDelay),
			"how long a stopping process, no longer ready, still accepts requests, up to 5m"),
		process("shutdown_timeout", "SHUTDOWN_TIMEOUT", durationField(&c.ShutdownTimeout),
			"how long a stopping process waits for requests in flight, up to 10m"),
		process("tls.cert_file", "TLS_CERT_FILE", textField(&c.TLS.CertFile, nil), "PEM certificate chain for HTTPS"),
		process("tls.key_file", "TLS_KEY_FILE", textField(&c.TLS.KeyFile, nil), "PEM private key of the certificate"),
		process("log.level", "LOG_LEVEL", textField(&c.Log.Level, nil), "debug, info, warn or error"),
		process("log.format", "LOG_FORMAT", textField(&c.Log.Format, nil),
			"json, console or auto (console on a terminal)"),
		process("insecure", "INSECURE", boolField(&c.Insecure), "accept requests without any credential"),

		inListOnly("name", textField(&conn.Name, nil), "unique name of the connection"),
		inListOnly("backlog_share.max_events", wholeField(&conn.Share.MaxEvents),
			"the connection's share of backlog.max_events; 0 for an equal part of what the others leave"),
		inListOnly("backlog_share.max_bytes", sizeField(&conn.Share.MaxBytes),
			"the connection's share of backlog.max_bytes, at least 1MiB; "+
				"0 for an equal part of what the others leave"),
		// Not PATH, which the shell owns.
		connection("path", "WEBHOOK_PATH", textField(&conn.Path, pathProblem), "unique URL path of the webhook"),
		connection("segment.shared_secret", "SEGMENT_SHARED_SECRET", secretsField(&segment.SharedSecret),
			"keys of X-Signature, separated by commas; several allow rotation"),
		connection("segment.bearer_token", "SEGMENT_BEARER_TOKEN", secretsField(&segment.BearerToken),
			"accepted tokens of Authorization: Bearer, separated by commas"),
		connection("segment.basic_key", "SEGMENT_BASIC_KEY", secretsField(&segment.BasicKey),
			"accepted Basic user names (partner webhooks), separated by commas"),
		connection("segment.header.name", "SEGMENT_HEADER_NAME", textField(&segment.Header.Name, headerNameProblem),
			"name of a header whose value is a credential"),
		connection("segment.header.value", "SEGMENT_HEADER_VALUE", secretsField(&segment.Header.Value),
			"accepted values of that header, separated by commas"),
		connection("segment.allow_first_element_signature", "ALLOW_FIRST_ELEMENT_SIGNATURE",
			boolField(&segment.AllowFirstElementSignature),
			"accept batches whose signature covers only their first event"),
		connection("saasquatch.tenant_alias", "SAASQUATCH_TENANT_ALIAS", textField(&tenant.TenantAlias, aliasProblem),
			"alias of the tenant; required"),
		connection("saasquatch.api_key", "SAASQUATCH_API_KEY", secretField(&tenant.APIKey),
			"API key of the tenant; required"),
		connection("saasquatch.user_name", "SAASQUATCH_USER_NAME", textField(&tenant.UserName, userNameProblem),
			"Basic user name: the AccountSID if the API key is an AuthToken"),
		connection("saasquatch.base_url", "SAASQUATCH_BASE_URL", baseURLField(&tenant.BaseURL),
			"scheme and host of SaaSquatch; plain http only to loopback"),
		connection("saasquatch.concurrency", "SAASQUATCH_CONCURRENCY", wholeField(&tenant.Concurrency),
			"most requests in flight for the tenant, 1 to 1000"),
		connection("saasquatch.min_concurrency", "SAASQUATCH_MIN_CONCURRENCY", wholeField(&tenant.MinConcurrency),
			"requests in flight that durable delivery always allows, however slow the tenant is"),
		connection("saasquatch.rate_limit", "SAASQUATCH_RATE_LIMIT", numberField(&tenant.RateLimit),
			"events sent per second to the tenant, 0 for no limit; upserts of their users are extra"),
		connection("saasquatch.bulk", "SAASQUATCH_BULK", wholeField(&tenant.Bulk),
			"most events that durable delivery puts into one call to SaaSquatch, 1 to 100; "+
				"1 sends each by a REST request of its own; direct delivery ignores it"),
		connection("saasquatch.attempt_timeout", "SAASQUATCH_ATTEMPT_TIMEOUT", durationField(&tenant.AttemptTimeout),
			"how long one attempt at an event may take with all its requests, up to 60s"),
		connection("account_id", "", textsField(&rules.AccountID, kindTexts),
			"paths; the first non-blank string or number at one of them is the accountId"),
		connection("placeholder_user_ids", "", textsField(&rules.PlaceholderUserIDs, kindWords),
			"userIds that mean no user, in upper or lower case; [] for none"),
		connection("invalid_values", "", textField(&rules.InvalidValues, nil).of(kindInvalidValues),
			"what happens to values that SaaSquatch does not support: stringify, null or discard_event"),
		connection("any_age", "", boolField(&rules.AnyAge), "send events of any age"),
		connection("max_age", "", durationField(&rules.MaxAge), "oldest event to send"),
		connection("max_ahead", "", durationField(&rules.MaxAhead), "how far in the future an event may be"),
		connection("events.only", "", textsField(&rules.Only, kindTexts), "names of the only events to send"),
		connection("events.except", "", textsField(&rules.Except, kindTexts), "names of events not to send"),
		connection("events.keys", "", textMap{&rules.Keys}, "event keys by event name, sent verbatim"),
		connection("events.remap_orders", "", boolField(&rules.RemapOrders),
			"send Order Completed as purchase and Order Refunded as refund"),
		connection("events.conform_orders", "", boolField(&rules.ConformOrders),
			"fit purchase and refund to SaaSquatch's closed schemas"),
		connection("events.revenue_scale", "", textField(&rules.RevenueScale, nil).of(kindDecimal),
			"factor of the money fields of purchase and refund"),
		connection("events.transform", "", expressionField(&rules.Transform),
			"JSONata expression over a mapped event that yields the event to send instead"),
		connection("users.identify", "", boolField(&rules.Identify), "upsert the users of identify calls"),
		connection("users.segments", "", expressionField(&rules.Segments),
			"JSONata expression over an identify call that yields its segment operations"),
		connection("users.invalid_segments", "", textField(&rules.InvalidSegments, nil),
			"what happens to segment operations that SaaSquatch does not accept: "+
				"discard_invalid, discard_all or sanitize"),
		connection("users.from_track", "", expressionField(&rules.FromTrack),
			"whether the user of a track call is upserted: never, missing or always, "+
				"or a JSONata expression over the call that yields NEVER, MISSING_USER or ALWAYS"),
		connection("users.from_track_body", "", expressionField(&rules.FromTrackBody),
			"JSONata expression over a track call that yields the fields of that upsert; "+
				"without one it has only the ids"),
		connection("users.ensure", "", textField(&conn.EnsureUsers, nil),
			"when the missing user of an event is upserted: "+
				"after a 404 to the event, or before the event unless this process knows the user"),
	}
}

// settings are the settings without a Config. Reading, flags, Print and Reference are made from them.
var settings = func() []setting {
	c := Default()
	list := table(c, &c.Connections[0])
	for i := range list {
		s := &list[i]
		k := s.bound.kind()
		s.index, s.Kind, s.Secret, s.Default = i, k.name, k == kindSecret || k == kindSecrets, nodeText(s.bound.node())
		if s.Env != "" && !s.Secret {
			s.Flag = strings.ReplaceAll(strings.ToLower(s.Env), "_", "-")
		}
	}
	return list
}()

// settingOf returns the setting with a key of the table.
func settingOf(key string) *setting {
	return &settings[slices.IndexFunc(settings, func(s setting) bool { return s.Key == key })]
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
