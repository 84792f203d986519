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
	// maxRetryHorizon leaves half an hour of the 24 for which SaaSquatch knows a key: for an attempt, and for clocks
	// that differ.
	maxRetryHorizon    = 23*time.Hour + 30*time.Minute
	minLedgerRetention = 24 * time.Hour
	minDeadLetterBytes = mebibyte
)

// durable checks the settings of durable delivery.
func (v *validator) durable() {
	c := v.config
	if c.Store.IsZero() && c.Delivery == DeliveryDurable {
		v.dataDir()
	}
	v.store()
	v.require(c.RetryHorizon >= minRetryHorizon && c.RetryHorizon <= maxRetryHorizon, "retry_horizon",
		"is %s: write a duration from %s to %s, "+
			"because SaaSquatch forgets an event's key after 24h and would accept the event a second time",
		formatDuration(c.RetryHorizon), formatDuration(minRetryHorizon), formatDuration(maxRetryHorizon))
	v.oneOf("unkeyed_ambiguous", string(c.UnkeyedAmbiguous), string(UnkeyedRetry), string(UnkeyedDead))
	v.require(c.LedgerRetention >= minLedgerRetention, "ledger_retention",
		"is %s: write a duration of at least 24h, because SaaSquatch itself forgets an event's key after 24h",
		formatDuration(c.LedgerRetention))
	v.require(c.DeadRetention >= 0, "dead_retention",
		"is %s: write a duration, or 0s to keep dead and rejected events for ever", formatDuration(c.DeadRetention))
	v.require(c.KeepPayloads >= 0 && c.KeepPayloads <= c.LedgerRetention, "keep_payloads",
		"is %s: write a duration from 0s to ledger_retention, which is %s",
		formatDuration(c.KeepPayloads), formatDuration(c.LedgerRetention))
	v.shares(shareOfEvents)
	v.shares(shareOfBytes)
	v.require(c.Backlog.MinFreeDisk >= 0, "backlog.min_free_disk",
		"is %s: write a size, or 0 for no limit", formatSize(c.Backlog.MinFreeDisk))
	v.require(c.DeadLetters.MaxBytes >= minDeadLetterBytes, "dead_letters.max_bytes",
		"is %s: write a size of at least %s", formatSize(c.DeadLetters.MaxBytes), formatSize(minDeadLetterBytes))
}

// dataDir checks the directory of the SQLite store. The directory need not exist yet.
func (v *validator) dataDir() {
	const key, remedy = "data_dir", ": write a directory for the events, such as ./data"
	dir := v.config.DataDir
	switch problem := filePathProblem(dir); {
	case dir == "":
		v.fault(key, "is empty"+remedy)
	case problem != "":
		v.fault(key, "is %s, which %s", quote(dir), problem)
	case isFile(dir):
		v.fault(key, "is %s, which is no directory"+remedy, quote(dir))
	}
}

func isFile(path string) bool {
	found, err := os.Stat(path)
	return err == nil && !found.IsDir() || errors.Is(err, syscall.ENOTDIR)
}

// store checks the URL of the database. It does not show the URL, which may contain a password.
func (v *validator) store() {
	if v.config.Store.IsZero() {
		return
	}
	const remedy = ": write postgres://user:password@host:5432/database"
	text := v.config.Store.Reveal()
	named := &credential{setting: settingOf(storeKey), text: text}
	u, err := url.Parse(text)
	problem := ""
	switch {
	case unreadable(text) != "":
		problem = unreadable(text)
	case isQuoted(text):
		problem = "is in quotation marks: remove them"
	case named.isNamed():
		problem = "begins with a name: write the URL alone"
	case slices.ContainsFunc(urlParts(text), isUnfilled):
		problem = "contains a placeholder, or a variable such as ${NAME} that was not replaced" + remedy
	case strings.ContainsFunc(text, unicode.IsSpace):
		problem = "contains white space: percent-encode it" + remedy
	case err != nil:
		problem = "is not a URL" + remedy + ", with special characters of the password percent-encoded"
	case u.Scheme != "postgres" && u.Scheme != "postgresql":
		problem = "does not begin with postgres://" + remedy + ", or remove it to store events in data_dir"
	case u.Host == "" && !u.Query().Has("host"):
		problem = "names no host" + remedy
	}
	v.text(storeKey, problem)
}

// urlParts returns the words of a URL: user, password, host, database, parameters.
func urlParts(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("/:@?&=", r) })
}

// isUnfilled reports whether a word of a URL is a placeholder or was not replaced. It accepts a password such as
// changeme.
func isUnfilled(word string) bool {
	return wholeReference.MatchString(word) || heldReference.MatchString(word) || bracketedWords.MatchString(word) ||
		strings.Contains(word, "…")
}

// admin checks the address and the tokens of the admin API.
func (v *validator) admin() {
	const key, example = "admin.listen_addr", "127.0.0.1:9090"
	if admin := v.config.Admin; admin.Enabled() {
		v.address(key, admin.ListenAddr, example)
		v.require(!sameAddress(admin.ListenAddr, v.config.ListenAddr), key,
			"is the address of the webhooks: write an address with another port, such as "+example)
	}
	v.credentials(adminTokenKey, "", nil)
}
