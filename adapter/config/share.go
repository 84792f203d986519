package config

import "strconv"

// shareKind is one of the two bounds of a share.
type shareKind struct {
	key   string // without its section
	least int64
	whole func(*Backlog) int64
	own   func(*Share) int64
	text  func(int64) string
}

// split is how a bound of the Backlog is shared.
type split struct {
	own     int64 // the sum of the shares that connections set
	sharing int64 // connections that set none
	part    int64 // that each of those gets
}

// split shares out a bound of the Backlog.
func (c *Config) split(kind shareKind) (s split) {
	for i := range c.Connections {
		own := max(0, kind.own(&c.Connections[i].Share))
		s.own += own
		if own == 0 {
			s.sharing++
		}
	}
	if s.sharing > 0 {
		s.part = max(0, kind.whole(&c.Backlog)-s.own) / s.sharing
	}
	return s
}

var (
	shareOfEvents = shareKind{
		"max_events", 1,
		func(b *Backlog) int64 { return int64(b.MaxEvents) }, func(s *Share) int64 { return int64(s.MaxEvents) },
		func(n int64) string { return strconv.FormatInt(n, 10) },
	}
	shareOfBytes = shareKind{
		"max_bytes", minBacklogBytes,
		func(b *Backlog) int64 { return b.MaxBytes }, func(s *Share) int64 { return s.MaxBytes },
		formatSize,
	}
)

// shares checks that each connection has room for pending events.
func (v *validator) shares(kind shareKind) {
	c, key := v.config, "backlog."+kind.key
	whole, least := kind.whole(&c.Backlog), kind.text(kind.least)
	if whole < kind.least {
		v.fault(key, "is %s: write at least %s for each connection", kind.text(whole), least)
		return
	}
	for i := range c.Connections {
		if own := kind.own(&c.Connections[i].Share); own != 0 && own < kind.least {
			v.fault(c.prefix(i)+"backlog_share."+kind.key, "is %s: write at least %s, or 0 for an equal part", kind.text(own), least)
		}
	}
	switch s := c.split(kind); {
	case s.own > whole:
		v.fault(key, "is %s, but the connections' shares are %s together: raise it, or lower backlog_share.%s of a connection",
			kind.text(whole), kind.text(s.own), kind.key)
	case s.sharing > 0 && s.part < kind.least:
		v.fault(key, "is %s, of which %s remain for each connection without a share: write at least %s",
			kind.text(whole), kind.text(s.part), kind.text(s.own+s.sharing*kind.least))
	}
}
