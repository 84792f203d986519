package mapping

import (
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// decomposition walks the characters of the NFKD of a text without making that
// text: a name may be as long as its event, and its NFKD eleven times as long,
// while only the first characters count. It differs from NFKD in two ways that do
// not tell in a name: Hangul syllables stay whole, and combining marks in a row
// keep their order.
type decomposition struct {
	rest []byte // of the text, which must be UTF-8
}

// next returns what the next character decomposes to, itself if that is nothing
// else, and nothing behind the last.
func (d *decomposition) next() []byte {
	if len(d.rest) == 0 {
		return nil
	}
	character := d.rest[:1]
	if character[0] >= utf8.RuneSelf {
		_, size := utf8.DecodeRune(d.rest)
		character = d.rest[:size]
	}
	d.rest = d.rest[len(character):]
	if len(character) > 1 {
		if parts := norm.NFKD.Properties(character).Decomposition(); parts != nil {
			return parts
		}
	}
	return character
}
