package mapping

import (
	"bytes"
	"strconv"
)

const (
	// shortestOutOfRange is the length of the shortest number that exceeds a double.
	shortestOutOfRange = len("1e309")
	// safeDigits is how many digits before the point a double always holds: the largest is 1.8e308.
	safeDigits = 308
)

// isOutOfRange reports whether the valid JSON value is a number beyond the range of a double, which SaaSquatch cannot
// hold (M12). A number too small for a double becomes 0 and is within the range.
func isOutOfRange(value []byte) bool {
	// The compiler inlines this much. Only a number starts with one of the bytes from - to 9.
	return len(value) >= shortestOutOfRange && value[0]-'-' <= '9'-'-' && exceedsDouble(value)
}

// exceedsDouble is isOutOfRange for a number.
func exceedsDouble(value []byte) bool {
	if len(value) <= safeDigits && bytes.IndexByte(value, 'e') < 0 && bytes.IndexByte(value, 'E') < 0 {
		return false
	}
	_, err := strconv.ParseFloat(string(value), 64)
	return err != nil // a valid number can only fail by its range
}

// scanNumber returns the index behind the number at i. On a fault, end is the index of the fault.
func scanNumber(b []byte, i int) (end int, fault string) {
	if i < len(b) && b[i] == '-' {
		i++
	}
	end = skipDigits(b, i)
	switch {
	case end == i:
		return end, "not a JSON value"
	case b[i] == '0' && end-i > 1:
		return i, "a number with a leading zero"
	}
	if end < len(b) && b[end] == '.' {
		i = end + 1
		if end = skipDigits(b, i); end == i {
			return end, "a number without digits behind its point"
		}
	}
	if end < len(b) && b[end]|0x20 == 'e' {
		i = end + 1
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if end = skipDigits(b, i); end == i {
			return end, "a number without digits in its exponent"
		}
	}
	return end, ""
}

// skipDigits returns the index of the first byte at or after i that is no digit.
func skipDigits(b []byte, i int) int {
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	return i
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
