package config

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"segment-saasquatch/mapping"
)

const (
	// shortSecret is the number of characters below which a credential is easy to guess.
	shortSecret = 8
	// segmentPatience is how long Segment waits for the answer of a classic webhook, as it documents.
	segmentPatience = 5 * time.Second
)

// Warnings returns the values that are allowed but risky, in a stable order.
func (c *Config) Warnings() []string {
	var list []string
	warn := func(key, format string, args ...any) {
		list = append(list, key+": "+fmt.Sprintf(format, args...))
	}
	if c.Insecure {
		warn("insecure", "is on: requests are accepted from anyone who can reach the listen address")
	}
	if c.Delivery == DeliveryDirect && c.AnswerBudget >= segmentPatience {
		warn("answer_budget", "is %s, but Segment waits %s: it may send delivered events again",
			formatDuration(c.AnswerBudget), formatDuration(segmentPatience))
	}
	if c.Delivery == DeliveryDirect && !c.Store.IsZero() {
		warn("store", "is not used: direct delivery stores nothing")
	}
	if host, _, err := net.SplitHostPort(c.Admin.ListenAddr); err == nil && !isLoopback(host) {
		warn("admin.listen_addr", "is not on the loopback interface: "+
			"anyone who reaches it can read the metrics, and the admin token travels over plain HTTP")
	}
	for i := range c.Connections {
		prefix, s := c.prefix(i)+"segment.", &c.Connections[i].Segment
		if s.AllowFirstElementSignature {
			warn(prefix+"allow_first_element_signature", "is on: only the first event of a batch is authenticated, "+
				"so anyone who has one signed event can append others to it")
		}
		if n := c.Connections[i].SaaSquatch.Bulk; c.Delivery == DeliveryDirect && n > 1 {
			warn(c.prefix(i)+"saasquatch.bulk",
				"is %d, but is not used: direct delivery sends each event by itself", n)
		}
		c.warnOfNames(warn, c.prefix(i), &c.Connections[i])
	}
	c.warnOfCredentials(warn)
	return list
}

// warnOfCredentials warns of credentials that are easy to guess or probably a mistake.
func (c *Config) warnOfCredentials(warn func(key, format string, args ...any)) {
	of := func(s *setting, prefix string, conn *Connection) {
		keys, list := c.credentialsOf(s, prefix, conn)
		for i := range list {
			if list[i].problem() != "" || s.Key == storeKey {
				continue // a fault
			}
			if strings.HasPrefix(s.Key, "segment.") && utf8.RuneCountInString(list[i].text) < shortSecret {
				warn(keys[i], "is shorter than %d characters: use a longer one, because short ones can be guessed",
					shortSecret)
			}
			for _, doubt := range list[i].doubts() {
				warn(keys[i], "%s", doubt)
			}
		}
		if key := prefix + s.Key; len(list) == 1 && c.commas[key] && strings.Contains(list[0].text, ",") {
			warn(key, "is one text with a comma, which is one credential in the file and several in the environment: "+
				"write a list, such as [first, second] or [\"one, with a comma\"]")
		}
	}
	for i := range settings {
		if s := &settings[i]; s.Secret && !s.PerConnection {
			of(s, "", nil)
		}
	}
	for i := range c.Connections {
		for j := range settings {
			if s := &settings[j]; s.Secret && s.PerConnection {
				of(s, c.prefix(i), &c.Connections[i])
			}
		}
	}
}

// warnOfNames warns of names that probably match nothing.
func (c *Config) warnOfNames(warn func(key, format string, args ...any), prefix string, conn *Connection) {
	if strings.Contains(conn.Segment.Header.Name, "_") {
		warn(prefix+"segment.header.name", "contains an underscore: use hyphens, because nginx and other proxies "+
			"drop headers with underscores by default")
	}
	spaced := func(key string, names []string) {
		for _, name := range names {
			if strings.TrimSpace(name) != name {
				warn(prefix+key, "the event name %s begins or ends with white space: "+
					"names match exactly, so remove it unless Segment's name has it", quote(name))
			}
		}
	}
	rules := &conn.Mapping
	names := slices.Sorted(maps.Keys(rules.Keys))
	spaced("events.only", rules.Only)
	spaced("events.except", rules.Except)
	spaced("events.keys", names)
	for _, name := range names {
		if utf8.RuneCountInString(rules.Keys[name]) > mapping.MaxNameLength {
			warn(prefix+"events.keys", "the key of %s is longer than %d characters, "+
				"at which SaaSquatch's own integration cuts keys: use a shorter one",
				quote(name), mapping.MaxNameLength)
		}
	}
}

// elementKey names one element of a list, or the list if it is the only one.
func elementKey(key string, i, of int) string {
	if of == 1 {
		return key
	}
	return fmt.Sprintf("%s[%d]", key, i)
}
