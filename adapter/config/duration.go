package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// parseDuration reads a Go duration, which may begin with days: 180d, 1d12h.
func parseDuration(text string) (time.Duration, error) {
	fault := func() (time.Duration, error) {
		if _, err := strconv.ParseFloat(text, 64); err == nil {
			return 0, fmt.Errorf("is %s, which has no unit: write a duration such as 30s, 12h or 180d", quote(text))
		}
		return 0, fmt.Errorf("is %s: write a duration such as 30s, 12h or 180d", quote(text))
	}
	number, rest, hasDays := strings.Cut(text, "d")
	if !hasDays {
		d, err := time.ParseDuration(text)
		if err != nil {
			return fault()
		}
		return d, nil
	}
	if strings.Trim(number, "+-.0123456789") != "" {
		return fault()
	}
	hours, err := time.ParseDuration(number + "h")
	if err != nil || hours > math.MaxInt64/24 || hours < math.MinInt64/24 {
		return fault()
	}
	total := hours * 24
	if rest == "" {
		return total, nil
	}
	if rest[0] == '+' || rest[0] == '-' {
		return fault()
	}
	more, err := time.ParseDuration(rest)
	if err != nil {
		return fault()
	}
	if strings.HasPrefix(number, "-") {
		more = -more
	}
	sum := total + more
	if (more > 0) != (sum > total) && more != 0 {
		return fault()
	}
	return sum, nil
}

// formatDuration writes what parseDuration reads, in days where they are whole.
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
