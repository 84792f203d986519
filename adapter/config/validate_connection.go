package config

import (
	"math"
	"regexp"
	"strings"
	"time"

	"segment-saasquatch/adapter"
)

var connectionNamePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// connections checks every connection and that they differ.
func (v *validator) connections() {
	c := v.config
	v.require(len(c.Connections) > 0, connectionsKey, "is empty: add a connection")
	names, paths := map[string]string{}, map[string]string{}
	for i := range c.Connections {
		conn, prefix := &c.Connections[i], c.prefix(i)
		v.require(connectionNamePattern.MatchString(conn.Name), prefix+"name",
			"is %s: write 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit", quote(conn.Name))
		v.require(conn.Path != "", prefix+"path", "is empty: write the URL path of the webhook, such as /segment")
		v.text(prefix+"path", pathProblem(conn.Path))
		v.unique(names, prefix+"name", conn.Name)
		v.unique(paths, prefix+"path", conn.Path)
		v.segment(prefix, conn)
		v.saasquatch(prefix, conn)
		v.oneOf(prefix+"users.ensure", string(conn.EnsureUsers), string(EnsureAfter), string(EnsureBefore))
		v.mapping(i)
	}
}

func (v *validator) unique(seen map[string]string, key, value string) {
	if first, ok := seen[value]; ok {
		v.fault(key, "is the same as %s: give each connection its own", first)
		return
	}
	seen[value] = key
}

// segment checks the credentials of requests.
func (v *validator) segment(prefix string, conn *Connection) {
	s := &conn.Segment
	v.require(s.HasCredential() || v.config.Insecure, prefix+sharedSecretKey,
		"is missing, and so is every other credential of requests: "+
			"%s, or another credential of segment, or --insecure to accept requests from anyone",
		v.remedy(sharedSecretKey))
	for _, key := range []string{sharedSecretKey, bearerTokenKey, basicKeyKey, headerValueKey} {
		v.credentials(key, prefix, conn)
	}
	v.both(prefix+"segment.header.name", s.Header.Name != "", prefix+headerValueKey, len(s.Header.Value) > 0)
	v.text(prefix+"segment.header.name", headerNameProblem(s.Header.Name))
}

// tenants checks the tenant and the mapping rules of every connection.
func (v *validator) tenants() {
	for i := range v.config.Connections {
		v.saasquatch(v.config.prefix(i), &v.config.Connections[i])
		v.mapping(i)
	}
}

const (
	maxConcurrency    = 1000
	maxAttemptTimeout = time.Minute

	testAliasPrefix = "test_"
	testKeyPrefix   = "TEST_"
	liveKeyPrefix   = "LIVE_"
)

// saasquatch checks the tenant of a connection.
func (v *validator) saasquatch(connPrefix string, conn *Connection) {
	s, prefix := &conn.SaaSquatch, connPrefix+"saasquatch."
	v.require(s.TenantAlias != "", prefix+"tenant_alias", "is missing: %s", v.remedy("saasquatch.tenant_alias"))
	v.text(prefix+"tenant_alias", aliasProblem(s.TenantAlias))
	v.require(!s.APIKey.IsZero(), prefix+"api_key", "is missing: %s", v.remedy(apiKeyKey))
	v.credentials(apiKeyKey, connPrefix, conn)
	isTest, key := strings.HasPrefix(s.TenantAlias, testAliasPrefix), s.APIKey.Reveal()
	v.require(!isTest || !strings.HasPrefix(key, liveKeyPrefix), prefix+"api_key",
		"is the key of a live tenant (LIVE_), but the tenant alias is that of a test tenant (test_): "+
			"use the test tenant's key or the live tenant's alias")
	v.require(isTest || s.TenantAlias == "" || !strings.HasPrefix(key, testKeyPrefix), prefix+"api_key",
		"is the key of a test tenant (TEST_), but the tenant alias is that of a live tenant: "+
			"use the live tenant's key or the test tenant's alias")
	v.text(prefix+"user_name", userNameProblem(s.UserName))
	v.require(s.BaseURL != "", prefix+"base_url", "is empty: write the URL of SaaSquatch or remove the key")
	v.text(prefix+"base_url", baseURLProblem(s.BaseURL))
	v.require(s.Concurrency >= 1 && s.Concurrency <= maxConcurrency, prefix+"concurrency",
		"is %d: write a number from 1 to %d", s.Concurrency, maxConcurrency)
	n := s.MinConcurrency
	v.require(n >= 1, prefix+"min_concurrency", "is %d: write a number from 1 to saasquatch.concurrency", n)
	v.require(n < 1 || n <= s.Concurrency || !v.config.IsSet(prefix+"min_concurrency"), prefix+"min_concurrency",
		"is %d, above saasquatch.concurrency, which is %d: lower this one or raise the other", n, s.Concurrency)
	v.require(s.RateLimit >= 0 && !math.IsInf(s.RateLimit, 1), prefix+"rate_limit",
		"is %v: write requests per second, or 0 for no limit", s.RateLimit)
	v.require(s.Bulk >= 1 && s.Bulk <= adapter.MaxBulk, prefix+"bulk",
		"is %d: write a number of events from 1 to %d; 1 sends each event by itself", s.Bulk, adapter.MaxBulk)
	v.duration(prefix+"attempt_timeout", s.AttemptTimeout, maxAttemptTimeout)
}
