package mapping

import (
	"unicode"
	"unicode/utf8"
)

// Event keys that SaaSquatch reserves for orders.
const (
	keyPurchase = "purchase"
	keyRefund   = "refund"
)

// appendEventKey appends the event key of the event name (M7), nothing if nothing
// is left of the name.
func (m *Mapper) appendEventKey(dst, name []byte) []byte {
	if key, ok := m.rules.Keys[string(name)]; ok {
		return append(dst, key...)
	}
	if m.rules.RemapOrders {
		switch string(name) {
		case "Order Completed":
			return append(dst, keyPurchase...)
		case "Order Refunded":
			return append(dst, keyRefund...)
		}
	}
	return appendCamelCase(dst, name)
}

// appendCamelCase appends the camelCase of name, which must be UTF-8, cut to
// MaxNameLength characters (M8).
func appendCamelCase(dst, name []byte) []byte {
	name = decompose(name)
	start := len(dst)
	var previous byte // the last ASCII letter or digit of this word, 0 at the start of a word
	for i := 0; i < len(name); {
		c, size := nextASCII(name, i)
		i += size
		switch {
		case c == ignored:
			continue
		case c == separator:
			previous = 0
			continue
		}
		split := previous == 0 ||
			isUpper(c) && isLower(previous) ||
			isUpper(c) && isUpper(previous) && isLower(peekASCII(name, i))
		previous = c
		if split && len(dst) > start {
			c = toUpper(c)
		} else {
			c = toLower(c)
		}
		if dst = append(dst, c); len(dst)-start == MaxNameLength {
			break
		}
	}
	return dst
}

const (
	separator = ' '  // a character that separates words
	ignored   = 0x00 // a character that is removed without separating
)

// nextASCII returns the ASCII letter or digit at i, or separator, or ignored.
func nextASCII(name []byte, i int) (c byte, size int) {
	c = name[i]
	if c < utf8.RuneSelf {
		if isUpper(c) || isLower(c) || '0' <= c && c <= '9' {
			return c, 1
		}
		return separator, 1
	}
	r, size := utf8.DecodeRune(name[i:])
	if unicode.IsLetter(r) || unicode.IsDigit(r) || isMark(r) {
		return ignored, size
	}
	return separator, size
}

// peekASCII returns what follows at i, passing over what is removed.
func peekASCII(name []byte, i int) byte {
	for i < len(name) {
		c, size := nextASCII(name, i)
		if c != ignored {
			return c
		}
		i += size
	}
	return separator
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
func isLower(c byte) bool { return 'a' <= c && c <= 'z' }

func toUpper(c byte) byte {
	if isLower(c) {
		return c - 'a' + 'A'
	}
	return c
}

func toLower(c byte) byte {
	if isUpper(c) {
		return c - 'A' + 'a'
	}
	return c
}
