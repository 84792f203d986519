package main

import (
	"strings"
	"testing"
	"time"
)

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"":                          {},
		"2026-10-31":                time.Date(2026, 10, 31, 0, 0, 0, 0, time.UTC),
		"2026-10-31T10:00:00Z":      time.Date(2026, 10, 31, 10, 0, 0, 0, time.UTC),
		"2026-10-31T10:00:00+02:00": time.Date(2026, 10, 31, 8, 0, 0, 0, time.UTC),
		"2026-10-31T10:00:00.125Z":  time.Date(2026, 10, 31, 10, 0, 0, 125e6, time.UTC),
		"0s":                        now,
		"90m":                       now.Add(-90 * time.Minute),
		"1h30m":                     now.Add(-90 * time.Minute),
		"7d":                        time.Date(2026, 10, 25, 8, 0, 0, 0, time.UTC),
		"0d":                        now,
		"100000d":                   now.Add(-100_000 * 24 * time.Hour),
	} {
		if got, err := parseMoment(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "-2h", "-1d", "100001d", "1.5d", "d", "2026-10-32",
		"2026-10-31T10:00", "7", " 7d", "1w"} {
		if got, err := parseMoment(text, now); err == nil || !strings.Contains(err.Error(), "7d") {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// FuzzParseMoment checks that an age is never a time in the future.
func FuzzParseMoment(f *testing.F) {
	for _, text := range []string{"7d", "2h", "2026-10-31", "2026-10-31T10:00:00Z", "99999999999999999999d",
		"2562047h47m16.854775807s"} {
		f.Add(text)
	}
	now := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseMoment(text, now)
		if isAgo := !strings.Contains(text, "-"); err == nil && isAgo && got.After(now) {
			t.Errorf("%q is %v", text, got)
		}
	})
}
