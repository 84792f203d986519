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

// Validate returns everything that keeps a process from serving, joined; each
// is a [*Fault]. It reads the certificate files.
func (c *Config) Validate() error {
	v := &validator{config: c}
	v.process()
	v.durable()
	v.admin()
	v.tls()
	v.log()
	v.connections()
	return v.faults.join()
}

// ValidateSending returns the faults of what it takes to send events and keep
// them, for commands that receive no webhooks.
func (c *Config) ValidateSending() error {
	v := &validator{config: c}
	v.durable()
	v.log()
	for i := range c.Connections {
		v.saasquatch(c.prefix(i), &c.Connections[i])
		v.mapping(i)
	}
	return v.faults.join()
}

// ValidateTenants returns the faults of the tenants and of the mapping rules, for
// commands that only ask SaaSquatch and keep nothing.
func (c *Config) ValidateTenants() error {
	v := &validator{config: c}
	for i := range c.Connections {
		v.saasquatch(c.prefix(i), &c.Connections[i])
		v.mapping(i)
	}
	return v.faults.join()
}

// ValidateMapping returns the faults of the mapping rules alone, for commands
// that send nothing.
func (c *Config) ValidateMapping() error {
	v := &validator{config: c}
	for i := range c.Connections {
		v.mapping(i)
	}
	return v.faults.join()
}

// ValidateAdminToken returns the faults of the admin API's tokens, for commands that ask
// a server.
func (c *Config) ValidateAdminToken() error {
	v := &validator{config: c}
	v.credentials(adminTokenKey, "", nil)
	return v.faults.join()
}

type validator struct {
	config *Config
	faults faults
}

func (v *validator) fault(key, format string, args ...any) {
	v.faults.add(v.config.where(key), key, format, args...)
}

// check adds the error of one of the checks that also run when a value is read.
func (v *validator) check(key string, err error) {
	if err != nil {
		v.fault(key, "%v", err)
	}
}

func (v *validator) oneOf(key, value string, known ...string) {
	if !slices.Contains(known, value) {
		v.fault(key, "is %s: write %s or %s", quote(value), strings.Join(known[:len(known)-1], ", "), known[len(known)-1])
	}
}

func (v *validator) duration(key string, d, most time.Duration) {
	if d <= 0 || d > most {
		v.fault(key, "is %s: write a duration above 0s and at most %s", formatDuration(d), formatDuration(most))
	}
}

// process checks the settings of the process.
func (v *validator) process() {
	c := v.config
	v.address("listen_addr", c.ListenAddr, ":8080")
	v.oneOf("delivery", string(c.Delivery), string(DeliveryDurable), string(DeliveryDirect))
	if c.BodyLimit < minBodyLimit || c.BodyLimit > maxBodyLimit {
		v.fault("body_limit", "is %s: write a size from %s to %s", formatSize(c.BodyLimit), formatSize(minBodyLimit), formatSize(maxBodyLimit))
	}
	if n := c.MaxOpenConnections; n != 0 && (n < minOpenConnections || n > maxOpenConnections) {
		v.fault("max_open_connections", "is %d: write a number from %d to %d, or 0 for one that fits the limit of open files",
			n, minOpenConnections, maxOpenConnections)
	}
	if m, least := c.RequestMemory, max(minRequestMemory, 3*c.BodyLimit); m != 0 && m < least {
		v.fault("request_memory", "is %s: write 0, or at least %s, three times body_limit", formatSize(m), formatSize(least))
	}
	v.duration("answer_budget", c.AnswerBudget, maxAnswerBudget)
	if d := c.ShutdownDelay; d < 0 || d > maxShutdownDelay {
		v.fault("shutdown_delay", "is %s: write a duration from 0s to %s", formatDuration(d), formatDuration(maxShutdownDelay))
	}
	v.duration("shutdown_timeout", c.ShutdownTimeout, maxShutdownTimeout)
}

func (v *validator) log() {
	v.oneOf("log.level", v.config.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", v.config.Log.Format, "auto", "json", "console")
}

// tls checks that both files are there and belong together.
func (v *validator) tls() {
	cert, key := v.config.TLS.CertFile, v.config.TLS.KeyFile
	switch {
	case cert == "" && key == "":
		return
	case cert == "":
		v.fault("tls.cert_file", "is missing beside tls.key_file: set both or neither")
		return
	case key == "":
		v.fault("tls.key_file", "is missing beside tls.cert_file: set both or neither")
		return
	}
	certFault, keyFault := checkFilePath(cert), checkFilePath(key)
	v.check("tls.cert_file", certFault)
	v.check("tls.key_file", keyFault)
	if certFault != nil || keyFault != nil {
		return
	}
	certPEM, certErr := os.ReadFile(cert)
	if certErr != nil {
		v.fault("tls.cert_file", "cannot be read (%s): mend the path or the file's permissions", readFault(certErr))
	}
	keyPEM, keyErr := os.ReadFile(key)
	if keyErr != nil {
		v.fault("tls.key_file", "cannot be read (%s): mend the path or the file's permissions", readFault(keyErr))
	}
	if certErr != nil || keyErr != nil {
		return
	}
	if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
		v.fault("tls.cert_file", "does not load together with tls.key_file (%v): name a PEM certificate and its own PEM key", err)
	}
}

// mapping checks the rules of connection i.
func (v *validator) mapping(i int) {
	v.names(v.config.prefix(i), &v.config.Connections[i].Mapping)
	err := v.config.Connections[i].Mapping.Validate()
	if err == nil {
		return
	}
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	prefix := v.config.prefix(i)
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

// names checks names for what nothing has replaced. A name may hold anything else. The
// rules themselves check the paths of account_id.
func (v *validator) names(prefix string, rules *mapping.Rules) {
	check := func(key string, names ...string) {
		for i, name := range names {
			if unreplacedName.MatchString(name) {
				v.fault(elementKey(prefix+key, i, len(names)),
					"is %s, a variable or a template that nothing has replaced: write the value itself", quote(name))
			}
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

// sortRuns orders neighbouring faults of the same key, since the rules hold
// maps, whose order changes.
func sortRuns(list faults) {
	key := func(err error) string {
		if fault, ok := errors.AsType[*Fault](err); ok {
			return fault.Key
		}
		return ""
	}
	for start, end := 0, 0; start < len(list); start = end {
		for end = start; end < len(list) && key(list[end]) == key(list[start]); end++ {
		}
		slices.SortFunc(list[start:end], func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	}
}

// remedy says how to set a setting of a connection.
func (v *validator) remedy(key string) string {
	if v.config.listForm() {
		return fmt.Sprintf("set %s of this connection", key)
	}
	for _, s := range settings {
		if s.Key == key && s.Env != "" {
			return fmt.Sprintf("set %s, %s or %s in the configuration file", s.Env, s.EnvFile(), key)
		}
	}
	return fmt.Sprintf("set %s in the configuration file", key)
}
