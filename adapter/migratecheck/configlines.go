package migratecheck

import (
	"strconv"
	"strings"
	"unicode"

	"segment-saasquatch/mapping"
)

// configLines are the changes that a configuration needs. Names are in Go quotes: printable, and valid YAML.
type configLines struct {
	remapOrders bool
	keys        []string // entries of events.keys
	comments    []string // decisions of a person
}

// add adds the entry of events.keys that gives an event the tenant's key, if similar is one key and the name has no
// entry yet. Keyless means that the event needs an entry in any case.
func (c *configLines) add(name string, similar []string, rules *mapping.Rules, keyless bool) {
	entry, choices := strconv.Quote(name), make([]string, len(similar))
	if len(similar) == 0 {
		if keyless {
			c.comments = append(c.comments, "needs a key in events.keys: "+entry)
		}
		return
	}
	for i, key := range similar {
		if strings.TrimSpace(key) == "" || strings.ContainsFunc(key, unicode.IsControl) {
			return // no such key can be configured
		}
		choices[i] = strconv.Quote(key)
	}
	entry += ": " + strings.Join(choices, " or ")
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

// Config returns the lines of the configuration file that reconcile differences, as YAML. A file with these lines
// alone loads. Decisions of a person are comments. It is empty if there is nothing to change. In a file with several
// connections the lines belong into the connection.
func (r *Report) Config() string {
	var lines []string
	if r.config.remapOrders || len(r.config.keys) > 0 {
		lines = append(lines, "events:")
	}
	if r.config.remapOrders {
		lines = append(lines, "  remap_orders: true")
	}
	if len(r.config.keys) > 0 {
		lines = append(lines, "  keys:")
	}
	for _, entry := range r.config.keys {
		lines = append(lines, "    "+entry)
	}
	for _, comment := range r.config.comments {
		lines = append(lines, "# "+comment)
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}
