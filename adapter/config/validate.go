package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"segment-saasquatch/mapping"
)

// Validate returns every fault that keeps a process from serving, joined; each is a [*Fault]. It reads the certificate
// files.
func (c *Config) Validate() error {
	return c.run((*validator).process, (*validator).durable, (*validator).admin, (*validator).tls, (*validator).log,
		(*validator).connections)
}

// ValidateSending returns the faults that keep a command from sending and storing events. It is for commands that
// receive no webhooks.
func (c *Config) ValidateSending() error {
	return c.run((*validator).durable, (*validator).log, (*validator).tenants)
}

// ValidateTenants returns the faults of the tenants and of the mapping rules. It is for commands that only ask
// SaaSquatch and store nothing.
func (c *Config) ValidateTenants() error { return c.run((*validator).tenants) }

// ValidateMapping returns the faults of the mapping rules. It is for commands that send nothing.
func (c *Config) ValidateMapping() error {
	return c.run(func(v *validator) {
		for i := range c.Connections {
			v.mapping(i)
		}
	})
}

// ValidateAdminToken returns the faults of the admin API's tokens. It is for commands that ask a server.
func (c *Config) ValidateAdminToken() error {
	return c.run(func(v *validator) { v.credentials(adminTokenKey, "", nil) })
}

func (c *Config) run(checks ...func(*validator)) error {
	v := &validator{config: c}
	for _, check := range checks {
		check(v)
	}
	return v.faults.join()
}

// validator collects the faults of a Config.
type validator struct {
	config *Config
	faults faults
}

func (v *validator) fault(key, format string, args ...any) {
	v.faults.add(v.config.where(key), key, format, args...)
}

// require adds a fault unless ok is true.
func (v *validator) require(ok bool, key, format string, args ...any) {
	if !ok {
		v.fault(key, format, args...)
	}
}

// text checks a value with one of the functions that also run when it is read. It returns whether the value is right.
func (v *validator) text(key, problem string) bool {
	v.require(problem == "", key, "%s", problem)
	return problem == ""
}

func (v *validator) oneOf(key, value string, known ...string) {
	last := len(known) - 1
	v.require(slices.Contains(known, value), key,
		"is %s: write %s or %s", quote(value), strings.Join(known[:last], ", "), known[last])
}

func (v *validator) duration(key string, d, most time.Duration) {
	v.require(d > 0 && d <= most, key,
		"is %s: write a duration above 0s and at most %s", formatDuration(d), formatDuration(most))
}

const (
	minBodyLimit       = 64 * kibibyte
	maxBodyLimit       = 256 * mebibyte
	minOpenConnections = 16
	maxOpenConnections = 1_000_000
	minRequestMemory   = 16 * mebibyte
	maxAnswerBudget    = time.Minute
	maxShutdownTimeout = 10 * time.Minute
	maxShutdownDelay   = 5 * time.Minute
)

// process checks the settings of the process.
func (v *validator) process() {
	c := v.config
	v.address("listen_addr", c.ListenAddr, ":8080")
	v.oneOf("delivery", string(c.Delivery), string(DeliveryDurable), string(DeliveryDirect))
	v.require(c.BodyLimit >= minBodyLimit && c.BodyLimit <= maxBodyLimit, "body_limit",
		"is %s: write a size from %s to %s",
		formatSize(c.BodyLimit), formatSize(minBodyLimit), formatSize(maxBodyLimit))
	n := c.MaxOpenConnections
	v.require(n == 0 || n >= minOpenConnections && n <= maxOpenConnections, "max_open_connections",
		"is %d: write a number from %d to %d, or 0 for one that fits the limit of open files",
		n, minOpenConnections, maxOpenConnections)
	least := max(minRequestMemory, 3*c.BodyLimit)
	v.require(c.RequestMemory == 0 || c.RequestMemory >= least, "request_memory",
		"is %s: write 0, or at least %s, three times body_limit", formatSize(c.RequestMemory), formatSize(least))
	v.duration("answer_budget", c.AnswerBudget, maxAnswerBudget)
	v.require(c.ShutdownDelay >= 0 && c.ShutdownDelay <= maxShutdownDelay, "shutdown_delay",
		"is %s: write a duration from 0s to %s", formatDuration(c.ShutdownDelay), formatDuration(maxShutdownDelay))
	v.duration("shutdown_timeout", c.ShutdownTimeout, maxShutdownTimeout)
}

func (v *validator) log() {
	v.oneOf("log.level", v.config.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", v.config.Log.Format, "auto", "json", "console")
}

// tls checks that both files exist and belong together.
func (v *validator) tls() {
	const certKey, keyKey = "tls.cert_file", "tls.key_file"
	cert, key := v.config.TLS.CertFile, v.config.TLS.KeyFile
	if cert == "" || key == "" {
		v.both(certKey, cert != "", keyKey, key != "")
		return
	}
	certOK, keyOK := v.text(certKey, filePathProblem(cert)), v.text(keyKey, filePathProblem(key))
	if !certOK || !keyOK {
		return
	}
	certPEM, certErr := v.readFile(certKey, cert)
	keyPEM, keyErr := v.readFile(keyKey, key)
	if certErr != nil || keyErr != nil {
		return
	}
	if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
		v.fault(certKey,
			"does not load together with tls.key_file (%v): name a PEM certificate and its own PEM key", err)
	}
}

// both checks that both settings are set or neither is.
func (v *validator) both(a string, isSetA bool, b string, isSetB bool) {
	v.require(isSetA || !isSetB, a, "is missing, but %s is set: set both or neither", b)
	v.require(isSetB || !isSetA, b, "is missing, but %s is set: set both or neither", a)
}

func (v *validator) readFile(key, path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		v.fault(key, "cannot be read (%s): fix the path or the file's permissions", readFault(err))
	}
	return content, err
}

// mapping checks the rules of connection i.
func (v *validator) mapping(i int) {
	prefix, rules := v.config.prefix(i), &v.config.Connections[i].Mapping
	v.names(prefix, rules)
	err := rules.Validate()
	if err == nil {
		return
	}
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	start := len(v.faults)
	for _, err := range list {
		key, problem := strings.TrimSuffix(prefix, "."), err.Error()
		if rule, ok := errors.AsType[*mapping.RuleError](err); ok {
			key, problem = prefix+rule.Key, rule.Problem
		}
		v.fault(key, "%s", problem)
	}
	sortRuns(v.faults[start:])
}

// names checks names of events for variables and templates that were not replaced. A name may contain anything else.
// The rules check the paths of account_id.
func (v *validator) names(prefix string, rules *mapping.Rules) {
	check := func(key string, names ...string) {
		for i, name := range names {
			v.require(!unreplacedName.MatchString(name), elementKey(prefix+key, i, len(names)),
				"is %s, a variable or a template that was not replaced: write the value itself", quote(name))
		}
	}
	check("events.only", rules.Only...)
	check("events.except", rules.Except...)
	for _, name := range slices.Sorted(maps.Keys(rules.Keys)) {
		check("events.keys", name)
		check("events.keys", rules.Keys[name])
	}
}

var unreplacedName = regexp.MustCompile(`^\$\{[^{}]*\}$|\{\{.*\}\}`)

// sortRuns sorts adjacent faults of the same key. The rules return them in the changing order of maps.
func sortRuns(list faults) {
	for start, end := 0, 0; start < len(list); start = end {
		for end = start; end < len(list) && list[end].Key == list[start].Key; end++ {
		}
		slices.SortFunc(list[start:end], func(a, b *Fault) int { return strings.Compare(a.Error(), b.Error()) })
	}
}

// remedy says how to set a setting of a connection.
func (v *validator) remedy(key string) string {
	if v.config.listForm() {
		return fmt.Sprintf("set %s of this connection", key)
	}
	s := settingOf(key)
	return fmt.Sprintf("set %s, %s or %s in the configuration file", s.Env, s.EnvFile(), key)
}
