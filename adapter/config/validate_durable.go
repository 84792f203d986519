package config

import (
	"errors"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"
)

const (
	minRetryHorizon = time.Minute
	// maxRetryHorizon leaves an attempt, and clocks that differ, half an hour of
	// the 24 for which SaaSquatch knows a key.
	maxRetryHorizon    = 23*time.Hour + 30*time.Minute
	minLedgerRetention = 24 * time.Hour
	minBacklogBytes    = mebibyte
	minDeadLetterBytes = mebibyte
	// minAdminToken is the least number of characters of a token of the admin API.
	minAdminToken = 16
)

// durable checks the settings of durable delivery.
func (v *validator) durable() {
	c := v.config
	if c.Store.IsZero() && c.Delivery == DeliveryDurable {
		v.dataDir()
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
	v.shares(shareOfEvents)
	v.shares(shareOfBytes)
	if n := c.Backlog.MinFreeDisk; n < 0 {
		v.fault("backlog.min_free_disk", "is %s: write a size, or 0 for no limit", formatSize(n))
	}
	if n := c.DeadLetters.MaxBytes; n < minDeadLetterBytes {
		v.fault("dead_letters.max_bytes", "is %s: write a size of at least %s", formatSize(n), formatSize(minDeadLetterBytes))
	}
}

// dataDir checks the directory of the SQLite store. It need not be there yet.
func (v *validator) dataDir() {
	const key = "data_dir"
	dir := v.config.DataDir
	if dir == "" {
		v.fault(key, "is empty: write a directory for the events, such as ./data")
		return
	}
	if err := checkFilePath(dir); err != nil {
		v.fault(key, "is %s, which %v", quote(dir), err)
		return
	}
	if found, err := os.Stat(dir); err == nil && !found.IsDir() || errors.Is(err, syscall.ENOTDIR) {
		v.fault(key, "is %s, which is no directory: write a directory for the events, such as ./data", quote(dir))
	}
}

// store checks the URL of the database, which may hold a password and is not shown.
func (v *validator) store() {
	if v.config.Store.IsZero() {
		return
	}
	const key, remedy = storeKey, ": write postgres://user:password@host:5432/database"
	text := v.config.Store.Reveal()
	if problem := unreadable(text); problem != "" {
		v.fault(key, "%s", problem)
		return
	}
	u, err := url.Parse(text)
	switch {
	case isQuoted(text):
		v.fault(key, "stands in quotation marks: remove them")
	case isNamedStore(text):
		v.fault(key, "begins with a name: write the URL alone")
	case slices.ContainsFunc(urlParts(text), isUnfilled):
		v.fault(key, "holds a placeholder, or a variable such as ${NAME} that nothing has replaced"+remedy)
	case strings.ContainsFunc(text, unicode.IsSpace):
		v.fault(key, "holds white space: percent-encode it"+remedy)
	case err != nil:
		v.fault(key, "is not a URL"+remedy+", with special characters of the password percent-encoded")
	case u.Scheme != "postgres" && u.Scheme != "postgresql":
		v.fault(key, "does not begin with postgres://"+remedy+", or remove it to keep events in data_dir")
	case u.Host == "" && !u.Query().Has("host"):
		v.fault(key, "names no host"+remedy)
	}
}

func isNamedStore(text string) bool {
	return (&credential{setting: settingOf(storeKey), text: text}).isNamed()
}

// urlParts returns the words of a URL: user, password, host, database, parameters.
func urlParts(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("/:@?&=", r) })
}

// isUnfilled reports whether a word of a URL stands for another. A password may well
// be one that isPlaceholder takes for an instruction.
func isUnfilled(word string) bool {
	return wholeReference.MatchString(word) || heldReference.MatchString(word) || bracketedWords.MatchString(word) ||
		strings.Contains(word, "…")
}

// noAddress is written for an address that is not to be listened on, since an
// empty environment variable counts as none at all.
const noAddress = "none"

// Enabled reports whether there is an address to listen on.
func (a Admin) Enabled() bool { return a.ListenAddr != "" && a.ListenAddr != noAddress }

// admin checks where operators are served.
func (v *validator) admin() {
	admin := &v.config.Admin
	if admin.Enabled() {
		v.address("admin.listen_addr", admin.ListenAddr, "127.0.0.1:9090")
		if sameAddress(admin.ListenAddr, v.config.ListenAddr) {
			v.fault("admin.listen_addr", "is that of the webhooks: write an address with another port, such as 127.0.0.1:9090")
		}
	}
	v.credentials(adminTokenKey, "", nil)
}
