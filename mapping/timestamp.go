package mapping

import (
	"regexp"
	"strconv"
	"time"
)

// maxMillis bounds a time given as a number: 100 million days from the epoch, the range of a JavaScript Date.
const maxMillis = 8_640_000_000_000_000

// year2Millis is the start of the year 2. A time before it counts as absent: Go programs write their zero time as
// 0001-01-01 (M9).
var year2Millis = time.Date(2, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// year2000Millis is the start of the year 2000. A time before it comes from an unset clock (M9).
var year2000Millis = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// parseTime reads one of Segment's four times, a JSON string or number, in milliseconds since the epoch, rounded down
// (M9).
func parseTime(value []byte, validUTF8 bool) (millis int64, ok bool) {
	if isNumber(value) {
		millis, ok = parseEpoch(value)
	} else {
		text := unquote(value, validUTF8)
		if millis, ok = parseDate(text); !ok {
			millis, ok = parseCompactDate(text)
		}
		if !ok {
			millis, ok = parseEpoch(text)
		}
	}
	return millis, ok && millis >= year2Millis
}

// parseEpoch reads a decimal number in JSON's syntax. It counts seconds below 1e11, milliseconds below 1e14,
// microseconds below 1e17, else nanoseconds. The arithmetic is decimal: a binary fraction would round 1567503483.594.
func parseEpoch(text []byte) (millis int64, ok bool) {
	n, ok := parseDecimal(text)
	if !ok {
		return 0, false
	}
	point := n.point // the number of digits before the decimal point
	switch {
	case n.negative || point < 12:
		point += 3
	case point < 15:
	case point < 18:
		point -= 3
	default:
		point -= 6
	}
	if point >= maxInt64Digits {
		return 0, false
	}
	millis, exact := n.truncated(point)
	if n.negative && !exact {
		millis--
	}
	return millis, -maxMillis <= millis && millis <= maxMillis
}

// looseDate matches RFC 3339 as loosely as Segment's sources write it. Accepted are T, t or a space; Z, +hh:mm,
// +hhmm, +hh or no zone; no seconds; months and days of one digit; a date alone. No alternatives begin alike, so that
// package regexp matches it in one pass.
var looseDate = regexp.MustCompile(`^(\d{4})-(\d\d?)-(\d\d?)` +
	`([Tt ](\d\d):(\d\d)(:(\d\d)(\.(\d{1,9}))?)?([Zz]|([+-])(\d\d)(:?(\d\d))?)?)?$`)

// isPlainDate reports whether text looks like a time in UTC of Segment's own libraries. Package time reads it ten
// times as fast as looseDate, but also accepts hours of one digit, a comma before the fraction, and any number of its
// digits.
func isPlainDate(text []byte) bool {
	const shortest, longest = len("2006-01-02T15:04:05Z"), len("2006-01-02T15:04:05.999999999Z")
	return len(text) >= shortest && len(text) <= longest &&
		text[13] == ':' && text[19] != ',' && text[len(text)-1] == 'Z'
}

// parseDate reads a date in the form of looseDate. A date without a zone is in UTC.
func parseDate(text []byte) (millis int64, ok bool) {
	var at time.Time
	if isPlainDate(text) && at.UnmarshalText(text) == nil {
		return at.UnixMilli(), true
	}
	parts := looseDate.FindSubmatch(text)
	if parts == nil {
		return 0, false
	}
	number := func(part int) int {
		n, _ := strconv.Atoi(string(parts[part])) // an absent part is 0
		return n
	}
	hour, minute, second, zoneHours, zoneMinutes := number(5), number(6), number(8), number(13), number(15)
	// 60 is a leap second, which RFC 3339 allows.
	if hour > 23 || minute > 59 || second > 60 || zoneHours > 23 || zoneMinutes > 59 {
		return 0, false
	}
	midnight, ok := dateOf(number(1), number(2), number(3))
	zone := time.Duration(zoneHours)*time.Hour + time.Duration(zoneMinutes)*time.Minute
	if string(parts[12]) == "-" {
		zone = -zone
	}
	nanos, _ := strconv.Atoi((string(parts[10]) + "000000000")[:9])
	at = midnight.Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute +
		time.Duration(second)*time.Second + time.Duration(nanos) - zone)
	return at.UnixMilli(), ok
}

// parseCompactDate reads a date of eight digits from the year 2000 on, yyyymmdd.
func parseCompactDate(text []byte) (millis int64, ok bool) {
	if len(text) != len("20060102") || skipDigits(text, 0) != len(text) {
		return 0, false
	}
	number, err := strconv.Atoi(string(text))
	if err != nil || number < 2000_00_00 {
		return 0, false
	}
	at, ok := dateOf(number/1_00_00, number/1_00%1_00, number%1_00)
	return at.UnixMilli(), ok
}

// dateOf returns the start of the day; ok is false if the day does not exist.
func dateOf(year, month, dayOfMonth int) (at time.Time, ok bool) {
	at = time.Date(year, time.Month(month), dayOfMonth, 0, 0, 0, 0, time.UTC)
	// time.Date carries a month or day out of range over into the next, whose number differs.
	return at, int(at.Month()) == month && at.Day() == dayOfMonth
}
