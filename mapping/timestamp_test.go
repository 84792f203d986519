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
	for _, year := range []int{0, 1, 2, 3, 4, 100, 9999} {
		at := time.Date(year, 12, 31, 23, 59, 59, 0, time.UTC)
		text := fmt.Sprintf("%04d-12-31T23:59:59Z", year)
		if got, ok := parseDate([]byte(text)); !ok || got != at.UnixMilli() {
			t.Errorf("%s: got %d %t, want %d", text, got, ok, at.UnixMilli())
		}
	}
}

// rfc3339 is the syntax of RFC 3339; package time takes more, such as hours of one
// digit, fractions behind a comma and offsets of 24 hours.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// FuzzParseTime compares with package time where that takes the text, and checks
// that nothing outside the range of a JavaScript Date is taken.
func FuzzParseTime(f *testing.F) {
	for _, seed := range []string{"2026-10-31T12:00:00.276Z", "2026-02-29T00:00:00Z", "1793448000.5", "-1e-400", "1e17", "2026-1-1", "0000-01-01", "2026-10-31T12:00:00+23:59"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := parseDate([]byte(text))
		if want, err := time.Parse(time.RFC3339Nano, text); err == nil && rfc3339.MatchString(text) {
			if !ok || got != want.UnixMilli() {
				t.Fatalf("%q: got %d %t, want %d", text, got, ok, want.UnixMilli())
			}
		}
		if millis, ok := parseEpoch([]byte(text)); ok && (millis > maxMillis || millis < -maxMillis) {
			t.Fatalf("%q: %d", text, millis)
		}
	})
}
