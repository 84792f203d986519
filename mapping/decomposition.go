package mapping

import (
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// decomposition iterates over the characters of a text in NFKD without building that form. A name may be as long as
// its event, and its NFKD eleven times as long, but only the first characters count. The result differs from NFKD in
// two ways that change no name: Hangul syllables stay whole, and consecutive combining marks keep their order.
type decomposition struct {
	rest []byte // of the text, which must be UTF-8
}

// next returns the decomposition of the next character, or the character itself if it has none. It returns nil at the
// end.
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
