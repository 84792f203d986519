package config

import (
	"math"
	"regexp"
	"strings"
	"time"
)

const (
	maxConcurrency    = 1000
	maxAttemptTimeout = time.Minute

	testAliasPrefix = "test_"
	testKeyPrefix   = "TEST_"
	liveKeyPrefix   = "LIVE_"
)

var connectionNamePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// connections checks every connection and that they differ.
func (v *validator) connections() {
	if len(v.config.Connections) == 0 {
		v.fault(connectionsKey, "is empty: add a connection")
	}
	names, paths := map[string]string{}, map[string]string{}
	for i := range v.config.Connections {
		conn, prefix := &v.config.Connections[i], v.config.prefix(i)
		if !connectionNamePattern.MatchString(conn.Name) {
			v.fault(prefix+"name", "is %s: write 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit", quote(conn.Name))
		}
		if conn.Path == "" {
			v.fault(prefix+"path", "is empty: write the URL path of the webhook, such as /segment")
		}
		v.check(prefix+"path", checkPath(conn.Path))
		v.unique(names, prefix, "name", conn.Name)
		v.unique(paths, prefix, "path", conn.Path)
		v.segment(prefix, conn)
		v.saasquatch(prefix, conn)
		v.oneOf(prefix+"users.ensure", string(conn.EnsureUsers), string(EnsureAfter), string(EnsureBefore))
		v.mapping(i)
	}
}

func (v *validator) unique(seen map[string]string, prefix, name, value string) {
	if first, ok := seen[value]; ok {
		v.fault(prefix+name, "is the same as %s: give each connection its own", first)
		return
	}
	seen[value] = prefix + name
}

// segment checks the credentials of requests.
func (v *validator) segment(prefix string, conn *Connection) {
	s := &conn.Segment
	if !s.HasCredential() && !v.config.Insecure {
		v.fault(prefix+sharedSecretKey,
			"is missing, and so is every other credential of requests: "+
				"%s, or another credential of segment, or --insecure to accept requests from anybody",
			v.remedy(sharedSecretKey))
	}
	for _, key := range []string{sharedSecretKey, bearerTokenKey, basicKeyKey, headerValueKey} {
		v.credentials(key, prefix, conn)
	}
	if s.Header.Name == "" && len(s.Header.Value) > 0 {
		v.fault(prefix+"segment.header.name", "is missing beside segment.header.value: set both or neither")
	}
	if s.Header.Name != "" && len(s.Header.Value) == 0 {
		v.fault(prefix+"segment.header.value", "is missing beside segment.header.name: set both or neither")
	}
	v.check(prefix+"segment.header.name", checkHeaderName(s.Header.Name))
}

// HasCredential reports whether any request could prove where it is from.
func (s *Segment) HasCredential() bool {
	return len(s.SharedSecret)+len(s.BearerToken)+len(s.BasicKey)+len(s.Header.Value) > 0
}

// saasquatch checks the tenant of a connection.
func (v *validator) saasquatch(connPrefix string, conn *Connection) {
	s, prefix := &conn.SaaSquatch, connPrefix+"saasquatch."
	if s.TenantAlias == "" {
		v.fault(prefix+"tenant_alias", "is missing: %s", v.remedy("saasquatch.tenant_alias"))
	}
	v.check(prefix+"tenant_alias", checkTenantAlias(s.TenantAlias))
	if s.APIKey.IsZero() {
		v.fault(prefix+"api_key", "is missing: %s", v.remedy("saasquatch.api_key"))
	} else {
		v.credentials(apiKeyKey, connPrefix, conn)
	}
	if s.TenantAlias != "" {
		isTest, key := strings.HasPrefix(s.TenantAlias, testAliasPrefix), s.APIKey.Reveal()
		if isTest && strings.HasPrefix(key, liveKeyPrefix) {
			v.fault(prefix+"api_key", "is the key of a live tenant (LIVE_), but the tenant alias is that of a test tenant (test_): use the test tenant's key or the live tenant's alias")
		}
		if !isTest && strings.HasPrefix(key, testKeyPrefix) {
			v.fault(prefix+"api_key", "is the key of a test tenant (TEST_), but the tenant alias is that of a live tenant: use the live tenant's key or the test tenant's alias")
		}
	}
	v.check(prefix+"user_name", checkUserName(s.UserName))
	if s.BaseURL == "" {
		v.fault(prefix+"base_url", "is empty: write the URL of SaaSquatch or remove the key")
	}
	v.check(prefix+"base_url", checkBaseURL(s.BaseURL))
	if s.Concurrency < 1 || s.Concurrency > maxConcurrency {
		v.fault(prefix+"concurrency", "is %d: write a number from 1 to %d", s.Concurrency, maxConcurrency)
	}
	if n := s.MinConcurrency; n < 1 {
		v.fault(prefix+"min_concurrency", "is %d: write a number from 1 to saasquatch.concurrency", n)
	} else if n > s.Concurrency && v.config.IsSet(prefix+"min_concurrency") {
		v.fault(prefix+"min_concurrency", "is %d, above saasquatch.concurrency, which is %d: lower the one or raise the other", n, s.Concurrency)
	}
	if s.RateLimit < 0 || math.IsNaN(s.RateLimit) || math.IsInf(s.RateLimit, 0) {
		v.fault(prefix+"rate_limit", "is %v: write requests per second, or 0 for no limit", s.RateLimit)
	}
	v.duration(prefix+"attempt_timeout", s.AttemptTimeout, maxAttemptTimeout)
}
