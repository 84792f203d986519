package mapping

import (
	"bytes"
	"unicode"
)

// isBlank reports whether text is empty or holds only white space and invisible characters (M4). The text must be
// UTF-8.
func isBlank(text []byte) bool {
	if len(text) > 0 && isVisibleASCII(text[0]) {
		return false
	}
	return len(bytes.TrimFunc(text, isBlankRune)) == 0
}

// trimBlank cuts white space and invisible characters from both ends of text.
func trimBlank(text []byte) []byte {
	if len(text) == 0 || isVisibleASCII(text[0]) && isVisibleASCII(text[len(text)-1]) {
		return text
	}
	return bytes.TrimFunc(text, isBlankRune)
}

func isVisibleASCII(c byte) bool { return ' ' < c && c < 0x7f }

// isBlankRune reports whether r is white space or invisible. The invisible characters are:
//
//   - Unicode's Default_Ignorable_Code_Point, by its derivation in DerivedCoreProperties.txt: zero-width spaces and
//     joiners, the byte order mark, soft hyphens, marks of direction, variation selectors, Hangul fillers, tags;
//   - the format characters (Cf) outside this property, except those that Unicode calls visible
//     (Prepended_Concatenation_Mark);
//   - the control characters U+0080 to U+009F (M4 rejects the others);
//   - blankLooking.
func isBlankRune(r rune) bool {
	switch {
	case r < 0x80:
		return unicode.IsSpace(r)
	case r < 0xa0, unicode.IsSpace(r), unicode.In(r, invisible...):
		return true
	}
	return unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

var invisible = []*unicode.RangeTable{
	unicode.Other_Default_Ignorable_Code_Point,
	unicode.Variation_Selector,
	blankLooking,
}

// blankLooking has the assigned letters, marks and symbols that fonts draw as empty space. No Unicode property names
// them. They have BLANK, FILLER or NULL in their names in UnicodeData.txt, and their charts show no ink.
var blankLooking = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x2800, Hi: 0x2800, Stride: 1}, // BRAILLE PATTERN BLANK
	},
	R32: []unicode.Range32{
		{Lo: 0x13441, Hi: 0x13442, Stride: 1}, // EGYPTIAN HIEROGLYPH FULL BLANK, HALF BLANK
		{Lo: 0x16fe4, Hi: 0x16fe4, Stride: 1}, // KHITAN SMALL SCRIPT FILLER
		{Lo: 0x1d159, Hi: 0x1d159, Stride: 1}, // MUSICAL SYMBOL NULL NOTEHEAD
	},
}
