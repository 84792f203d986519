package config

import (
	"cmp"
	"strconv"
)

// Share is a connection's part of the Backlog.
type Share struct {
	// MaxEvents is how many events may be pending, at least 1. Default: 0, an equal part of what the connections with
	// a share of their own leave.
	MaxEvents int
	// MaxBytes is their total size, at least 1 MiB. Default: 0, the same.
	MaxBytes int64
}

// Shares returns each connection's part of the Backlog, by the connection's name.
func (c *Config) Shares() map[string]Share {
	events, bytes := c.split(shareOfEvents), c.split(shareOfBytes)
	shares := make(map[string]Share, len(c.Connections))
	for i := range c.Connections {
		name, own := c.Connections[i].Name, c.Connections[i].Share
		shares[name] = Share{cmp.Or(own.MaxEvents, int(events.part)), cmp.Or(own.MaxBytes, bytes.part)}
	}
	return shares
}

// shareKind is one of the two limits of a share.
type shareKind struct {
	key   string // without its section
	least int64
	whole func(*Backlog) int64
	own   func(*Share) int64
	text  func(int64) string
}

var (
	shareOfEvents = shareKind{
		"max_events", 1,
		func(b *Backlog) int64 { return int64(b.MaxEvents) }, func(s *Share) int64 { return int64(s.MaxEvents) },
		func(n int64) string { return strconv.FormatInt(n, 10) },
	}
	shareOfBytes = shareKind{
		"max_bytes", mebibyte,
		func(b *Backlog) int64 { return b.MaxBytes }, func(s *Share) int64 { return s.MaxBytes },
		formatSize,
	}
)

// split is how the connections share a limit of the Backlog.
type split struct {
	own     int64 // the sum of the shares that connections set
	sharing int64 // the number of connections that set none
	part    int64 // what each of those gets
}

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
			v.fault(c.prefix(i)+"backlog_share."+kind.key,
				"is %s: write at least %s, or 0 for an equal part", kind.text(own), least)
		}
	}
	switch s := c.split(kind); {
	case s.own > whole:
		v.fault(key, "is %s, but the connections' shares add up to %s: "+
			"raise it, or lower backlog_share.%s of a connection", kind.text(whole), kind.text(s.own), kind.key)
	case s.sharing > 0 && s.part < kind.least:
		v.fault(key, "is %s, of which %s remain for each connection without a share: write at least %s",
			kind.text(whole), kind.text(s.part), kind.text(s.own+s.sharing*kind.least))
	}
}
