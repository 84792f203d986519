package adapter

import (
	"strings"
	"unicode/utf8"
)

// maxStoredText is how much a store keeps of a text from outside, in bytes.
const maxStoredText = 512

// StoredText returns a text from outside, such as a messageId, as stores hold it: at
// most 512 bytes, without breaking a character, valid UTF-8 and without zero bytes.
func StoredText(text string) string {
	text = StorableText(text)
	if len(text) <= maxStoredText {
		return text
	}
	return strings.ToValidUTF8(text[:maxStoredText], "")
}

// StorableText is StoredText of any length. PostgreSQL takes no other text.
func StorableText(text string) string {
	if utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 {
		return text
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "�"), "\x00", "�")
}
