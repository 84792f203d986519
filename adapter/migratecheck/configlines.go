package migratecheck

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"segment-saasquatch/mapping"
)

// configLines are what the configuration would need.
type configLines struct {
	remapOrders bool
	keys        []string // entries of events.keys
	comments    []string // what a person has to decide
}

// add adds the entry of events.keys that gives an event the key which the tenant
// has, if that is one key and the name has no entry yet.
func (c *configLines) add(name string, similar []string, rules *mapping.Rules) {
	if len(similar) == 0 {
		return
	}
	for _, key := range similar {
		if strings.TrimSpace(key) == "" || strings.ContainsFunc(key, unicode.IsControl) {
			return // no such key can be configured
		}
	}
	entry := quote(name) + ": " + quote(similar[0])
	for _, other := range similar[1:] {
		entry += " or " + quote(other)
	}
	_, configured := rules.Keys[name]
	switch {
	case configured:
		c.comments = append(c.comments, "in the place of its entry in events.keys: "+entry)
	case len(similar) > 1:
		c.comments = append(c.comments, "one of them in events.keys: "+entry)
	default:
		c.keys = append(c.keys, entry)
	}
}

// addKeyless is add for a name that needs an entry whatever the tenant has.
func (c *configLines) addKeyless(name string, similar []string, rules *mapping.Rules) {
	if len(similar) > 0 {
		c.add(name, similar, rules)
		return
	}
	c.comments = append(c.comments, fmt.Sprintf("needs a key in events.keys: %s", quote(name)))
}

// quote writes a text as YAML's double-quoted scalar, printable whatever is in it:
// the escapes of Go are a part of YAML's. The text is UTF-8.
func quote(text string) string { return strconv.Quote(text) }

// Config returns the lines of the configuration file that reconcile the differences
// that can be, as YAML: a file with them alone loads, and what is only for a person
// to decide is a comment. It is empty if there is nothing to change. In a file with
// several connections they belong into the connection.
func (r *Report) Config() string {
	var b strings.Builder
	if r.config.remapOrders || len(r.config.keys) > 0 {
		b.WriteString("events:\n")
	}
	if r.config.remapOrders {
		b.WriteString("  remap_orders: true\n")
	}
	if len(r.config.keys) > 0 {
		b.WriteString("  keys:\n")
	}
	for _, entry := range r.config.keys {
		b.WriteString("    " + entry + "\n")
	}
	for _, comment := range r.config.comments {
		b.WriteString("# " + comment + "\n")
	}
	return b.String()
}
