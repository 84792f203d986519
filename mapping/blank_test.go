package mapping

import (
	"testing"
	"unicode"
)

// defaultIgnorable holds the ranges of Default_Ignorable_Code_Point in Unicode 15's DerivedCoreProperties.txt.
var defaultIgnorable = [][2]rune{
	{0xad, 0xad}, {0x34f, 0x34f}, {0x61c, 0x61c}, {0x115f, 0x1160}, {0x17b4, 0x17b5}, {0x180b, 0x180f},
	{0x200b, 0x200f},
	{0x202a, 0x202e}, {0x2060, 0x206f}, {0x3164, 0x3164}, {0xfe00, 0xfe0f}, {0xfeff, 0xfeff}, {0xffa0, 0xffa0},
	{0xfff0, 0xfff8}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
}

// TestBlankCharacters checks every character of Unicode.
func TestBlankCharacters(t *testing.T) {
	want := make(map[rune]bool)
	for _, span := range defaultIgnorable {
		for r := span[0]; r <= span[1]; r++ {
			want[r] = true
		}
	}
	for _, span := range [][2]rune{
		{'\t', '\r'}, {' ', ' '}, // of ASCII
		{0x80, 0xa0}, {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, // C1 and spaces
		{0x205f, 0x205f}, {0x3000, 0x3000},
		{0xfff9, 0xfffb}, {0x13430, 0x1343f}, // format characters that no property hides
		{0x2800, 0x2800}, {0x13441, 0x13442}, {0x16fe4, 0x16fe4}, {0x1d159, 0x1d159}, // symbols without ink
	} {
		for r := span[0]; r <= span[1]; r++ {
			want[r] = true
		}
	}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if 0xd800 <= r && r <= 0xdfff {
			continue
		}
		text := []byte(string(r))
		if got := isBlank(text); got != want[r] {
			t.Errorf("U+%04X: blank is %t, want %t", r, got, want[r])
		}
		around := string(trimBlank([]byte(string(r) + "x" + string(r))))
		if trimmed := around == "x"; trimmed != want[r] {
			t.Errorf("U+%04X around x leaves %q", r, around)
		}
	}
}
