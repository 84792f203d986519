package mapping

import (
	"bytes"
	"slices"
	"strconv"
)

// decimal is the decimal number 0.digits × 10^point. It keeps every digit of a literal. Time and memory are
// proportional to the literal's length, whatever its exponent, which arbitrary-precision libraries do not promise.
type decimal struct {
	negative bool
	digits   []byte // without zeros at either end; empty for zero
	point    int
}

// maxExponentDigits bounds the exponent of a number that is read for its value.
const maxExponentDigits = 6

// parseDecimal reads a number in JSON's syntax.
func parseDecimal(text []byte) (n decimal, ok bool) {
	if end, fault := scanNumber(text, 0); fault != "" || end != len(text) {
		return n, false
	}
	text, n.negative = bytes.CutPrefix(text, []byte("-"))
	whole := text[:skipDigits(text, 0)]
	digits, exponent := whole, 0
	if rest := text[len(whole):]; len(rest) > 0 {
		if e := bytes.IndexAny(rest, "eE"); e >= 0 {
			if len(bytes.TrimLeft(rest[e+1:], "+-")) > maxExponentDigits {
				return n, false
			}
			exponent, _ = strconv.Atoi(string(rest[e+1:])) // the syntax and the bound above leave no error
			rest = rest[:e]
		}
		digits = slices.Concat(whole, bytes.TrimPrefix(rest, []byte(".")))
	}
	n.digits = bytes.TrimLeft(digits, "0")
	if len(n.digits) > 0 {
		n.point = len(whole) + exponent - (len(digits) - len(n.digits))
		n.digits = bytes.TrimRight(n.digits, "0")
	}
	return n, true
}

// maxInt64Digits is how many decimal digits every int64 can hold.
const maxInt64Digits = 18

// truncated returns 0.digits × 10^point without its fraction. It also reports whether there is no fraction. The point
// must be at most maxInt64Digits.
func (n decimal) truncated(point int) (value int64, exact bool) {
	whole := n.digits[:min(max(point, 0), len(n.digits))]
	for _, c := range whole {
		value = 10*value + int64(c-'0')
	}
	if len(whole) > 0 {
		for range point - len(whole) {
			value *= 10
		}
	}
	if n.negative {
		value = -value
	}
	return value, len(whole) == len(n.digits)
}
