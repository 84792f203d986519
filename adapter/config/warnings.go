package config

import (
	"fmt"
	"net"
	"time"
	"unicode/utf8"

	"segment-saasquatch/adapter"
)

const (
	// shortSecret is the number of characters below which a credential is easily guessed.
	shortSecret = 8
	// segmentPatience is how long Segment documents that it waits for an answer
	// of a classic webhook.
	segmentPatience = 5 * time.Second
)

// Warnings returns what is allowed but risky, in a stable order.
func (c *Config) Warnings() []string {
	var list []string
	warn := func(key, format string, args ...any) {
		list = append(list, key+": "+fmt.Sprintf(format, args...))
	}
	if c.Insecure {
		warn("insecure", "is on: requests are accepted from anybody who can reach the listen address")
	}
	if c.Delivery == DeliveryDirect && c.AnswerBudget >= segmentPatience {
		warn("answer_budget", "is %s, but Segment waits %s: it may send events again that were delivered",
			formatDuration(c.AnswerBudget), formatDuration(segmentPatience))
	}
	if c.Delivery == DeliveryDirect && !c.Store.IsZero() {
		warn("store", "is not used: direct delivery keeps nothing")
	}
	if host, _, err := net.SplitHostPort(c.Admin.ListenAddr); err == nil && !isLoopback(host) {
		warn("admin.listen_addr", "is not on the loopback interface: whoever reaches it can read the metrics, and the admin token travels over plain HTTP")
	}
	for i := range c.Connections {
		prefix, s := c.prefix(i)+"segment.", &c.Connections[i].Segment
		if s.AllowFirstElementSignature {
			warn(prefix+"allow_first_element_signature", "is on: only the first event of a batch is authenticated, so anybody who holds one signed event can append others to it")
		}
		short := func(name string, secrets []adapter.Secret) {
			for i, secret := range secrets {
				if utf8.RuneCountInString(secret.Reveal()) < shortSecret {
					warn(elementKey(prefix+name, i, len(secrets)), "is shorter than %d characters: use a longer one, since short ones can be guessed", shortSecret)
				}
			}
		}
		short("shared_secret", s.SharedSecret)
		short("bearer_token", s.BearerToken)
		short("basic_key", s.BasicKey)
		short("header.value", s.Header.Value)
	}
	return list
}

// elementKey names one element of a list, or the list if it is the only one.
func elementKey(key string, i, of int) string {
	if of == 1 {
		return key
	}
	return fmt.Sprintf("%s[%d]", key, i)
}
