package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// origin is where a value came from: "config.yaml:12", an environment variable or a flag. It contains no part of the
// value.
type origin string

const originDefault origin = "default"

func originLine(file string, line int) origin {
	return origin(fmt.Sprintf("%s:%d", file, line))
}

// comment returns the origin for a comment of the printed configuration.
func (o origin) comment() string {
	return "# " + strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(string(o), "?"))
}

func (c *Config) originOf(key string) origin {
	if o, ok := c.origins[key]; ok {
		return o
	}
	return originDefault
}

// IsSet reports whether the file, the environment or a flag sets the setting, even if to its default.
func (c *Config) IsSet(key string) bool { return c.originOf(key) != originDefault }

// where returns the place of a fault of the key: the place of its value, or of the connection that lacks it, or none.
func (c *Config) where(key string) string {
	key = cutIndex(key)
	if o, ok := c.origins[key]; ok {
		return string(o)
	}
	if end := strings.IndexByte(key, ']'); end > 0 {
		return string(c.origins[key[:end+1]])
	}
	return ""
}

// cutIndex removes the index from the key of a list's element, unless it is the key of a connection.
func cutIndex(key string) string {
	if list := indexPattern.ReplaceAllString(key, ""); list != connectionsKey {
		return list
	}
	return key
}

var indexPattern = regexp.MustCompile(`\[[0-9]+\]$`)

// prefix returns the beginning of the keys of connection i's settings.
func (c *Config) prefix(i int) string {
	if !c.listForm() {
		return ""
	}
	return fmt.Sprintf("%s[%d].", connectionsKey, i)
}

// listForm reports whether the connections are in a list, and not keys at the top level.
func (c *Config) listForm() bool {
	return c.several || len(c.Connections) != 1 || c.Connections[0].Name != defaultName
}
