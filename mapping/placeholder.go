package mapping

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// DefaultPlaceholderUserIDs returns the texts that clients in JavaScript, Java, Python, Ruby, Swift and Objective-C
// send without a user (M4).
func DefaultPlaceholderUserIDs() []string {
	return []string{"null", "undefined", "None", "nil", "NaN", "(null)", "[object Object]"}
}

// placeholders are ids that stand for no user.
type placeholders struct {
	ids [][]byte // without white space around them
	// starts marks the ASCII characters that begin a placeholder. It rules out most ids.
	starts [utf8.RuneSelf]bool
}

func (p *placeholders) add(text string) {
	id := trimBlank([]byte(text))
	p.ids = append(p.ids, id)
	first, _ := utf8.DecodeRune(id)
	for r := unicode.SimpleFold(first); ; r = unicode.SimpleFold(r) {
		if r < utf8.RuneSelf {
			p.starts[r] = true
		}
		if r == first {
			return
		}
	}
}

// has reports whether the id is a placeholder, in any case and with any white space or invisible characters around
// it.
func (p *placeholders) has(id []byte) bool {
	if id = trimBlank(id); len(id) == 0 || id[0] < utf8.RuneSelf && !p.starts[id[0]] {
		return false
	}
	for _, placeholder := range p.ids {
		if bytes.EqualFold(id, placeholder) {
			return true
		}
	}
	return false
}
