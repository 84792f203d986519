package mapping

import (
	"strconv"
	"time"
)

// maxMillis bounds a time given as a number: 100 million days from the epoch,
// the range of a JavaScript Date, from which such numbers come.
const maxMillis = 8_640_000_000_000_000

// year2Millis is the start of the year 2: at or before year 1 a time counts as
// absent, because Go programs write their zero time as 0001-01-01 (M9).
var year2Millis = time.Date(2, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// year2000Millis is the start of the year 2000: a time before it is that of a clock
// that was never set (M9).
var year2000Millis = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// parseTime reads one of Segment's four times, a JSON string or number, as
// milliseconds since the epoch, rounded down (M9).
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

// parseEpoch reads a decimal number in JSON's syntax. It counts seconds below 1e11,
// milliseconds below 1e14, microseconds below 1e17, else nanoseconds. The arithmetic
// is decimal, so that 1567503483.594 is not rounded through a binary fraction.
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
	if point > 17 {
		return 0, false
	}
	fraction := false
	for i := range max(point, n.count) {
		switch {
		case i < point:
			millis *= 10
			if i < n.count {
				millis += int64(n.digit(i))
			}
		case n.digit(i) != 0:
			fraction = true
		}
	}
	if n.negative {
		millis = -millis
		if fraction {
			millis--
		}
	}
	return millis, -maxMillis <= millis && millis <= maxMillis
}

// decimal is a decimal number 0.d₀d₁d₂… × 10^point.
type decimal struct {
	negative bool
	text     []byte // the digits, perhaps with a point among them
	dot      int    // index of that point, len(text) if there is none
	first    int    // number of leading zeros, which carry no weight
	count    int    // number of digits behind those
	point    int
}

// digit returns dᵢ.
func (n decimal) digit(i int) byte {
	if i += n.first; i >= n.dot {
		i++
	}
	return n.text[i] - '0'
}

// maxExponentDigits bounds the exponent of a number that is read for its value.
const maxExponentDigits = 6

// parseDecimal reads a number in JSON's syntax.
func parseDecimal(text []byte) (n decimal, ok bool) {
	i := 0
	if i < len(text) && text[i] == '-' {
		n.negative = true
		i++
	}
	start := i
	i = skipDigits(text, i)
	n.dot = i - start
	if n.dot == 0 || n.dot > 1 && text[start] == '0' {
		return n, false
	}
	n.count = n.dot
	if i < len(text) && text[i] == '.' {
		end := skipDigits(text, i+1)
		if end == i+1 {
			return n, false
		}
		n.count += end - i - 1
		i = end
	}
	n.text = text[start:i]
	exponent := 0
	if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		i++
		negative := i < len(text) && text[i] == '-'
		if negative || i < len(text) && text[i] == '+' {
			i++
		}
		end := skipDigits(text, i)
		if end == i || end-i > maxExponentDigits {
			return n, false
		}
		for ; i < end; i++ {
			exponent = exponent*10 + int(text[i]-'0')
		}
		if negative {
			exponent = -exponent
		}
	}
	if i != len(text) {
		return n, false
	}
	n.point = n.dot + exponent
	for n.count > 0 && n.digit(0) == 0 {
		n.first++
		n.count--
		n.point--
	}
	if n.count == 0 {
		n.point = 0
	}
	return n, true
}

func skipDigits(text []byte, i int) int {
	for i < len(text) && isDigit(text[i]) {
		i++
	}
	return i
}

// parseDate reads RFC 3339 as loosely as Segment's sources write it: T, t or a
// space; Z, +hh:mm, +hhmm, +hh or no zone, which is UTC; no seconds; months and days
// of one digit; a date alone.
func parseDate(text []byte) (millis int64, ok bool) {
	s := dateScanner{text: text, ok: true}
	year := s.digits(4, 4)
	s.expect('-')
	month := s.digits(1, 2)
	s.expect('-')
	dayOfMonth := s.digits(1, 2)
	midnight, ok := dateOf(year, month, dayOfMonth)
	if !s.ok || !ok {
		return 0, false
	}
	var hour, minute, second, nanos, offset int
	if !s.done() {
		if c := s.take(); c != 'T' && c != 't' && c != ' ' {
			return 0, false
		}
		hour = s.digits(2, 2)
		s.expect(':')
		minute = s.digits(2, 2)
		if s.peek() == ':' {
			s.i++
			second = s.digits(2, 2)
			nanos = s.fraction()
		}
		offset = s.zone()
		// 60 is a leap second, which RFC 3339 allows.
		if !s.ok || !s.done() || hour > 23 || minute > 59 || second > 60 {
			return 0, false
		}
	}
	seconds := midnight + int64(hour*3600+minute*60+second-offset)
	return seconds*1000 + int64(nanos/1_000_000), true
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
	seconds, ok := dateOf(number/1_00_00, number/1_00%1_00, number%1_00)
	return seconds * 1000, ok
}

// dateOf returns the start of the day in seconds since the epoch; ok is false if the
// calendar has no such day.
func dateOf(year, month, dayOfMonth int) (seconds int64, ok bool) {
	if month < 1 || month > 12 || dayOfMonth < 1 || dayOfMonth > 31 {
		return 0, false
	}
	at := time.Date(year, time.Month(month), dayOfMonth, 0, 0, 0, 0, time.UTC)
	// A day beyond the end of its month is one of the next, which has another number.
	return at.Unix(), dayOfMonth <= 28 || at.Day() == dayOfMonth
}

// dateScanner reads the parts of a date; once something does not fit, ok is false.
type dateScanner struct {
	text []byte
	i    int
	ok   bool
}

func (s *dateScanner) done() bool { return s.i == len(s.text) }

func (s *dateScanner) peek() byte {
	if s.done() {
		return 0
	}
	return s.text[s.i]
}

func (s *dateScanner) take() byte {
	c := s.peek()
	if s.done() {
		s.ok = false
	} else {
		s.i++
	}
	return c
}

func (s *dateScanner) expect(c byte) {
	if s.take() != c {
		s.ok = false
	}
}

func (s *dateScanner) digits(least, most int) (n int) {
	start := s.i
	for s.i-start < most && isDigit(s.peek()) {
		n = n*10 + int(s.text[s.i]-'0')
		s.i++
	}
	if s.i-start < least {
		s.ok = false
	}
	return n
}

// fraction reads an optional fraction of a second as nanoseconds.
func (s *dateScanner) fraction() (nanos int) {
	if s.peek() != '.' {
		return 0
	}
	s.i++
	start := s.i
	nanos = s.digits(1, 9)
	for range 9 - (s.i - start) {
		nanos *= 10
	}
	return nanos
}

// zone reads an optional zone as seconds east of UTC.
func (s *dateScanner) zone() (seconds int) {
	sign := 1
	switch s.peek() {
	case 'Z', 'z':
		s.i++
		return 0
	case '-':
		sign = -1
	case '+':
	default:
		return 0
	}
	s.i++
	hours, minutes := s.digits(2, 2), 0
	if !s.done() {
		if s.peek() == ':' {
			s.i++
		}
		minutes = s.digits(2, 2)
	}
	if hours > 23 || minutes > 59 {
		s.ok = false
	}
	return sign * (hours*3600 + minutes*60)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
