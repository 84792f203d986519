package mapping

import (
	"fmt"
	"regexp"
	"testing"
	"time"
)

// TestParseDateAgreesWithTime compares every day of 800 years with package time.
func TestParseDateAgreesWithTime(t *testing.T) {
	last := time.Date(2400, 3, 2, 0, 0, 0, 0, time.UTC)
	for at := time.Date(1600, 1, 1, 13, 14, 15, 678_000_000, time.UTC); at.Before(last); at = at.AddDate(0, 0, 1) {
		text := at.Format(time.RFC3339Nano)
		if got, ok := parseDate([]byte(text)); !ok || got != at.UnixMilli() {
			t.Fatalf("%s: got %d %t, want %d", text, got, ok, at.UnixMilli())
		}
	}
	for year := 1890; year < 2110; year++ {
		for month := range 14 {
			for day := range 33 {
				at := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
				exists := int(at.Month()) == month && at.Day() == day
				text := fmt.Sprintf("%04d-%d-%d", year, month, day)
				if got, ok := parseDate([]byte(text)); ok != exists || ok && got != at.UnixMilli() {
					t.Fatalf("%s: got %d %t", text, got, ok)
				}
				text = fmt.Sprintf("%04d%02d%02d", year, month, day)
				got, ok := parseCompactDate([]byte(text))
				if ok != (exists && year >= 2000) || ok && got != at.UnixMilli() {
					t.Fatalf("%s: got %d %t", text, got, ok)
				}
			}
		}
	}
	for _, year := range []int{0, 1, 2, 3, 4, 100, 9999} {
		at := time.Date(year, 12, 31, 23, 59, 59, 0, time.UTC)
		text := fmt.Sprintf("%04d-12-31T23:59:59Z", year)
		if got, ok := parseDate([]byte(text)); !ok || got != at.UnixMilli() {
			t.Errorf("%s: got %d %t, want %d", text, got, ok, at.UnixMilli())
		}
	}
}

// rfc3339 is the syntax of RFC 3339. Package time also accepts hours of one digit, fractions behind a comma and
// offsets of 24 hours.
var rfc3339 = regexp.MustCompile(
	`^\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// minuteOnly is the same without seconds.
var minuteOnly = regexp.MustCompile(`^\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// TestParseEpochUnits checks the limits between seconds, milliseconds, microseconds and nanoseconds.
func TestParseEpochUnits(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1000, "99999999999": 99_999_999_999_000, "99999999999.9999": 99_999_999_999_999,
		"100000000000": 100_000_000_000, "1e11": 100_000_000_000, "99999999999999.9": 99_999_999_999_999,
		"100000000000000": 100_000_000_000, "1e14": 100_000_000_000, "99999999999999999": 99_999_999_999_999,
		"100000000000000000": 100_000_000_000, "1e17": 100_000_000_000,
		"8640000000000000000000": maxMillis, "8.64e21": maxMillis,
		"1793448000": 1_793_448_000_000, "1793448000000": 1_793_448_000_000,
		"1793448000000000": 1_793_448_000_000, "1793448000000000000": 1_793_448_000_000,
	} {
		got, ok := parseEpoch([]byte(text))
		if inRange := want <= maxMillis && want >= -maxMillis; ok != inRange || ok && got != want {
			t.Errorf("%s: got %d %t, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"8640000000000001000000", "1e22", "1e400", "-1e400", "", "-", "1e", "01", "+1", ".5", "1_000", "0x10",
		"Infinity",
	} {
		if got, ok := parseEpoch([]byte(text)); ok {
			t.Errorf("%q is taken as %d", text, got)
		}
	}
}

// FuzzParseTime compares with package time if that accepts the text. Nothing outside the range of a JavaScript Date
// may be accepted.
func FuzzParseTime(f *testing.F) {
	for _, seed := range []string{
		"2026-10-31T12:00:00.276Z", "2026-02-29T00:00:00Z", "1793448000.5", "-1e-400", "1e17", "2026-1-1",
		"0000-01-01",
		"2026-10-31T12:00:00+23:59", "2026-10-31T12:00Z", "20261031", "20260230", "1793448000000000", "1.793448e18",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := parseDate([]byte(text))
		if want, err := time.Parse(time.RFC3339Nano, text); err == nil && rfc3339.MatchString(text) {
			if !ok || got != want.UnixMilli() {
				t.Fatalf("%q: got %d %t, want %d", text, got, ok, want.UnixMilli())
			}
		}
		if want, err := time.Parse("2006-01-02T15:04Z07:00", text); err == nil && minuteOnly.MatchString(text) {
			if !ok || got != want.UnixMilli() {
				t.Fatalf("%q: got %d %t, want %d", text, got, ok, want.UnixMilli())
			}
		}
		compact, ok := parseCompactDate([]byte(text))
		want, err := time.Parse("20060102", text)
		exists := err == nil && want.Year() >= 2000 && len(text) == 8
		if ok != exists || ok && compact != want.UnixMilli() {
			t.Fatalf("%q: got %d %t, want %v", text, compact, ok, want)
		}
		if millis, ok := parseEpoch([]byte(text)); ok && (millis > maxMillis || millis < -maxMillis) {
			t.Fatalf("%q: %d", text, millis)
		}
	})
}
