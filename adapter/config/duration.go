package config

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// daysPattern splits a duration that begins with days into its sign, the days and the rest.
var daysPattern = regexp.MustCompile(`^([+-]?)([0-9.]+)d([0-9.].*)?$`)

// parseDuration reads a Go duration, which may begin with days: 180d, 1d12h.
//
// xhit/go-str2duration and Prometheus's model.ParseDuration do not replace it. TestParseDuration shows why: the
// first accepts days that are repeated or follow a smaller unit (1d1d, 1m2d), the second refuses 1.5d and -1d.
func parseDuration(text string) (time.Duration, error) {
	parts := daysPattern.FindStringSubmatch(text)
	if parts == nil {
		if d, err := time.ParseDuration(text); err == nil {
			return d, nil
		}
	} else {
		sign, number, rest := parts[1], parts[2], parts[3]
		hours, err := time.ParseDuration(sign + number + "h") // a 24th of the days
		more, moreErr := time.ParseDuration(sign + cmp.Or(rest, "0"))
		days := 24 * hours
		overflows := hours > math.MaxInt64/24 || hours < math.MinInt64/24 || (days+more < days) != (more < 0)
		if err == nil && moreErr == nil && !overflows {
			return days + more, nil
		}
	}
	hint := ""
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		hint = ", which has no unit"
	}
	return 0, fmt.Errorf("is %s%s: write a duration such as 30s, 12h or 180d", quote(text), hint)
}

// formatDuration writes a text that parseDuration reads, in days if they are whole.
func formatDuration(d time.Duration) string {
	if d != 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
