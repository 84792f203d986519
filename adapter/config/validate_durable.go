package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	minRetryHorizon = time.Minute
	// maxRetryHorizon leaves an attempt, and clocks that differ, half an hour of
	// the 24 for which SaaSquatch knows a key.
	maxRetryHorizon    = 23*time.Hour + 30*time.Minute
	minLedgerRetention = 24 * time.Hour
	minBacklogBytes    = mebibyte
	// minAdminToken is the least number of characters of a token of the admin API.
	minAdminToken = 16
)

// durable checks the settings of durable delivery.
func (v *validator) durable() {
	c := v.config
	if c.DataDir == "" && c.Store.IsZero() && c.Delivery == DeliveryDurable {
		v.fault("data_dir", "is empty: write a directory for the events, such as ./data")
	}
	v.store()
	if d := c.RetryHorizon; d < minRetryHorizon || d > maxRetryHorizon {
		v.fault("retry_horizon", "is %s: write a duration from %s to %s, since SaaSquatch forgets an event's key after 24h and would take it a second time",
			formatDuration(d), formatDuration(minRetryHorizon), formatDuration(maxRetryHorizon))
	}
	v.oneOf("unkeyed_ambiguous", string(c.UnkeyedAmbiguous), string(UnkeyedRetry), string(UnkeyedDead))
	if d := c.LedgerRetention; d < minLedgerRetention {
		v.fault("ledger_retention", "is %s: write a duration of at least 24h, since only until then SaaSquatch itself knows what it has", formatDuration(d))
	}
	if d := c.DeadRetention; d < 0 {
		v.fault("dead_retention", "is %s: write a duration, or 0s to keep dead and rejected events for ever", formatDuration(d))
	}
	if d := c.KeepPayloads; d < 0 || d > c.LedgerRetention {
		v.fault("keep_payloads", "is %s: write a duration from 0s to ledger_retention, which is %s", formatDuration(d), formatDuration(c.LedgerRetention))
	}
	if n := c.Backlog.MaxEvents; n < 1 {
		v.fault("backlog.max_events", "is %d: write a number of at least 1", n)
	}
	if n := c.Backlog.MaxBytes; n < minBacklogBytes {
		v.fault("backlog.max_bytes", "is %s: write a size of at least %s", formatSize(n), formatSize(minBacklogBytes))
	}
	if n := c.Backlog.MinFreeDisk; n < 0 {
		v.fault("backlog.min_free_disk", "is %s: write a size, or 0 for no limit", formatSize(n))
	}
}

// store checks the URL of the database, which may hold a password and is not shown.
func (v *validator) store() {
	if v.config.Store.IsZero() {
		return
	}
	const remedy = ": write postgres://user:password@host:5432/database"
	u, err := url.Parse(v.config.Store.Reveal())
	switch {
	case err != nil:
		v.fault("store", "is not a URL"+remedy+", with special characters of the password percent-encoded")
	case u.Scheme != "postgres" && u.Scheme != "postgresql":
		v.fault("store", "does not begin with postgres://"+remedy+", or remove it to keep events in data_dir")
	case u.Host == "" && !u.Query().Has("host"):
		v.fault("store", "names no host"+remedy)
	}
}

// noAddress is written for an address that is not to be listened on, since an
// empty environment variable counts as none at all.
const noAddress = "none"

// Enabled reports whether there is an address to listen on.
func (a Admin) Enabled() bool { return a.ListenAddr != "" && a.ListenAddr != noAddress }

var bearerPattern = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// admin checks where operators are served.
func (v *validator) admin() {
	admin := &v.config.Admin
	if admin.Enabled() {
		v.address("admin.listen_addr", admin.ListenAddr, "127.0.0.1:9090")
		if sameAddress(admin.ListenAddr, v.config.ListenAddr) {
			v.fault("admin.listen_addr", "is that of the webhooks: write an address with another port, such as 127.0.0.1:9090")
		}
	}
	v.secrets("admin.token", admin.Token)
	for i, token := range admin.Token {
		key := elementKey("admin.token", i, len(admin.Token))
		switch text := token.Reveal(); {
		case utf8.RuneCountInString(text) < minAdminToken:
			v.fault(key, "is shorter than %d characters: write a longer one, such as openssl rand -hex 32 makes", minAdminToken)
		case !bearerPattern.MatchString(text):
			v.fault(key, "holds a character that a bearer token cannot: write letters, digits and - . _ ~ + / only")
		}
	}
}

// sameAddress reports whether one process cannot listen on both.
func sameAddress(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || isEveryHost(hostA) || isEveryHost(hostB)
}

func isEveryHost(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}
