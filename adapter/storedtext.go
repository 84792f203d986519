package adapter

import (
	"strings"
	"unicode/utf8"
)

// maxStoredText is how many bytes of a text from outside a store keeps.
const maxStoredText = 512

// StoredText returns a text from outside, such as a messageId, as stores have it: at most 512 bytes of
// valid UTF-8, with whole characters and without zero bytes.
func StoredText(text string) string {
	text = StorableText(text)
	if len(text) <= maxStoredText {
		return text
	}
	return strings.ToValidUTF8(text[:maxStoredText], "")
}

// StorableText is StoredText without the limit of length. PostgreSQL takes no other text.
func StorableText(text string) string {
	if utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 {
		return text
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "�"), "\x00", "�")
}
