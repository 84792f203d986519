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

// appendEventKey appends the event key for the event name (M7). It appends nothing if M8 removes the whole name.
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

// appendCamelCase appends the camelCase form of name, cut to MaxNameLength characters (M8). The name must be UTF-8.
func appendCamelCase(dst, name []byte) []byte {
	start := len(dst)
	letters := letterWalk{characters: decomposition{name}, separated: true}
	var previous byte // the last letter or digit of this word; 0 at the start of a word
	for c := letters.next(); c != 0; {
		next := letters.next()
		if c == separator {
			previous, c = 0, next
			continue
		}
		split := previous == 0 ||
			isUpper(c) && isLower(previous) ||
			isUpper(c) && isUpper(previous) && isLower(next)
		previous = c
		if split && len(dst) > start {
			c = toUpper(c)
		} else {
			c = toLower(c)
		}
		if dst = append(dst, c); len(dst)-start == MaxNameLength {
			break
		}
		c = next
	}
	return dst
}

// separator stands for all characters between two words.
const separator = ' '

// letterWalk iterates over the ASCII letters and digits of a text in NFKD.
type letterWalk struct {
	characters decomposition
	parts      []byte // the rest of the last decomposition
	separated  bool   // no letter or digit has come since the last separator, or at all
}

// next returns the next ASCII letter or digit, or a separator in front of it, or 0 at the end. It removes other
// letters, other digits and combining marks without separating.
func (w *letterWalk) next() byte {
	for {
		if len(w.parts) == 0 {
			if w.parts = w.characters.next(); w.parts == nil {
				return 0
			}
		}
		r, size := utf8.DecodeRune(w.parts)
		w.parts = w.parts[size:]
		switch {
		case r < utf8.RuneSelf && isAlphanumeric(byte(r)):
			w.separated = false
			return byte(r)
		case w.separated: // further separators change nothing
		case r < utf8.RuneSelf, !unicode.IsLetter(r) && !unicode.IsDigit(r) && !isMark(r):
			w.separated = true
			return separator
		}
	}
}

func isAlphanumeric(c byte) bool { return isUpper(c) || isLower(c) || isDigit(c) }

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
