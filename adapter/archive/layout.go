package archive

import (
	"strconv"
	"strings"
	"time"
)

// logsFolder is the folder that Segment's destination makes in a bucket.
const logsFolder = "segment-logs"

// level is the depth of a folder in Segment's layout.
type level int

const (
	outside  level = iota + 1 // not in the layout, though the layout's root may be below
	inLogs                    // segment-logs itself
	inSource                  // segment-logs/{source}
	inDay                     // segment-logs/{source}/{day}, or below
)

// place is the place of a folder in Segment's layout.
type place struct {
	level  level
	source string    // from inSource on
	day    time.Time // from inDay on
	// copied means that the source is not in segment-logs: the tree is a copy of the folders in it,
	// and nothing else is known of it.
	copied bool
}

// placeOf returns the place of a folder by its path, which has slashes.
func placeOf(path string) place {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	at := len(parts) - 1
	for at >= 0 && parts[at] != logsFolder {
		at--
	}
	if at < 0 {
		return copiedPlace(parts)
	}
	switch below := parts[at+1:]; len(below) {
	case 0:
		return place{level: inLogs}
	case 1:
		return place{level: inSource, source: below[0]}
	default:
		day, ok := parseDay(below[1])
		if !ok {
			return place{level: outside}
		}
		return place{level: inDay, source: below[0], day: day}
	}
}

// copiedPlace returns the place of a folder outside of segment-logs.
func copiedPlace(parts []string) place {
	last := len(parts) - 1
	day, ok := parseCopiedDay(parts[last])
	if !ok {
		return place{level: outside}
	}
	source := ""
	if last > 0 {
		source = parts[last-1]
	}
	return place{level: inDay, source: source, day: day, copied: true}
}

// below returns the place of a folder of that name, false if the layout has none
// there.
func (p place) below(name string) (place, bool) {
	switch p.level {
	case outside:
		if name == logsFolder {
			return place{level: inLogs}, true
		}
		return p, true
	case inLogs:
		return place{level: inSource, source: name}, true
	case inSource:
		day, ok := parseDay(name)
		return place{level: inDay, source: p.source, day: day}, ok
	default:
		return p, true
	}
}

// parseDay parses the name of a received day: Unix time of 00:00 UTC in
// milliseconds, 13 digits, or in seconds, 10 digits. A time within a day means that
// day.
func parseDay(name string) (time.Time, bool) {
	if len(name) != 10 && len(name) != 13 || name[0] == '0' {
		return time.Time{}, false
	}
	var n int64
	for i := range len(name) {
		c := name[i]
		if c < '0' || c > '9' {
			return time.Time{}, false
		}
		n = 10*n + int64(c-'0')
	}
	if len(name) == 13 {
		n /= 1000
	}
	return dayOf(time.Unix(n, 0)), true
}

// parseCopiedDay parses the name of a received day outside of segment-logs: Unix time of 00:00 UTC
// in milliseconds. Other folders have numbers for names there too.
func parseCopiedDay(name string) (time.Time, bool) {
	day, ok := parseDay(name)
	return day, ok && name == strconv.FormatInt(day.UnixMilli(), 10)
}

// dayOf returns the UTC day of a time, and zero for zero.
func dayOf(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(24 * time.Hour)
}
