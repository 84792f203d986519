package config

import (
	"fmt"
	"strings"
	"unicode"
)

// origin is where a value came from: "config.yaml:12", an environment variable
// or a flag. It holds no part of the value.
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

// IsSet reports whether the file, the environment or a flag sets the setting,
// though it be to its default.
func (c *Config) IsSet(key string) bool { return c.originOf(key) != originDefault }

// where returns the place of a fault of the key: that of its value, or of the
// connection it is missing from, or none.
func (c *Config) where(key string) string {
	key, _, _ = cutIndex(key)
	if o, ok := c.origins[key]; ok {
		return string(o)
	}
	if end := strings.IndexByte(key, ']'); end > 0 {
		return string(c.origins[key[:end+1]])
	}
	return ""
}

// cutIndex cuts "[1]" off the end of the key of a list's element.
func cutIndex(key string) (list, index string, found bool) {
	start := strings.LastIndexByte(key, '[')
	if start <= 0 || !strings.HasSuffix(key, "]") || strings.HasPrefix(key, "connections[") && start == len("connections") {
		return key, "", false
	}
	return key[:start], key[start:], true
}

// prefix begins the keys of the settings of connection i.
func (c *Config) prefix(i int) string {
	if !c.listForm() {
		return ""
	}
	return fmt.Sprintf("connections[%d].", i)
}

// listForm reports whether the connections stand in a list, and not as keys at
// top level.
func (c *Config) listForm() bool {
	return c.several || len(c.Connections) != 1 || c.Connections[0].Name != defaultName
}
