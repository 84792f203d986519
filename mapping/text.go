package mapping

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// unquote returns the text of a JSON string. The text is part of the string itself, unless the string holds an escape
// or bytes that are not UTF-8. These bytes become U+FFFD.
func unquote(quoted []byte, validUTF8 bool) []byte {
	inner := quoted[1 : len(quoted)-1]
	if (validUTF8 || utf8.Valid(inner)) && bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	// The error only reports bytes that U+FFFD replaces.
	text, _ := jsontext.AppendUnquote(nil, quoted)
	return text
}

// textOrLiteral returns the text of a string, or the literal of another value.
func textOrLiteral(value []byte, validUTF8 bool) []byte {
	if value[0] != '"' {
		return value
	}
	return unquote(value, validUTF8)
}

// appendQuoted appends text as a JSON string. The text must be UTF-8.
func appendQuoted(dst, text []byte) []byte {
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst
}

// truncate cuts text to maxChars code points and maxBytes bytes, at a character boundary.
func truncate(text []byte, maxChars, maxBytes int) (cut []byte, truncated bool) {
	if len(text) <= maxChars && len(text) <= maxBytes {
		return text, false
	}
	chars := 0
	for i := 0; i < len(text); chars++ {
		_, size := utf8.DecodeRune(text[i:])
		if chars == maxChars || i+size > maxBytes {
			return text[:i], true
		}
		i += size
	}
	return text, false
}

// plainNames marks the characters that field names may have (M11).
var plainNames = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
	}
	return plain
}()

// isPlainName reports whether M11 keeps the name unchanged.
func isPlainName(name []byte) bool {
	if len(name) == 0 || len(name) > MaxNameLength {
		return false
	}
	for _, c := range name {
		if !plainNames[c] {
			return false
		}
	}
	return true
}

// appendPlainName appends the field name that M11 makes of text. The text must be UTF-8.
func appendPlainName(dst, text []byte) []byte {
	start := len(dst)
	characters := decomposition{text}
	for parts := characters.next(); parts != nil; parts = characters.next() {
		for _, c := range parts {
			if !plainNames[c] {
				continue
			}
			if dst = append(dst, c); len(dst)-start == MaxNameLength {
				return dst
			}
		}
	}
	return dst
}

// foldName appends name to letters, in lower case and without underscores. It returns nil if the result exceeds the
// capacity of letters.
func foldName(letters, name []byte) []byte {
	for _, c := range name {
		if c == '_' {
			continue
		}
		if len(letters) == cap(letters) {
			return nil
		}
		letters = append(letters, toLower(c))
	}
	return letters
}

// isMark reports whether r is a combining mark.
func isMark(r rune) bool { return r >= utf8.RuneSelf && unicode.Is(unicode.M, r) }
