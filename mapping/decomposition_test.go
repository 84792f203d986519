package mapping

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// plainName is the simplest implementation of M11.
func plainName(text []byte) string {
	var name []byte
	for _, c := range norm.NFKD.Bytes(text) {
		if plainNames[c] {
			name = append(name, c)
		}
	}
	return string(name[:min(len(name), MaxNameLength)])
}

// camelCase is the simplest implementation of M8: words first, then their case.
func camelCase(text []byte) string {
	var ascii []byte // with a space for each separator
	for _, r := range string(norm.NFKD.Bytes(text)) {
		switch {
		case r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)):
			ascii = append(ascii, byte(r))
		case unicode.IsLetter(r), unicode.IsDigit(r), unicode.Is(unicode.M, r):
		default:
			ascii = append(ascii, ' ')
		}
	}
	var split []byte
	for i, c := range ascii {
		if i > 0 && isUpper(c) &&
			(isLower(ascii[i-1]) || isUpper(ascii[i-1]) && i+1 < len(ascii) && isLower(ascii[i+1])) {
			split = append(split, ' ')
		}
		split = append(split, c)
	}
	var name strings.Builder
	for _, word := range strings.Fields(string(split)) {
		word = strings.ToLower(word)
		if name.Len() > 0 {
			word = strings.ToUpper(word[:1]) + word[1:]
		}
		name.WriteString(word)
	}
	return name.String()[:min(name.Len(), MaxNameLength)]
}

func checkNames(t *testing.T, text []byte) {
	t.Helper()
	if got, want := string(appendPlainName(nil, text)), plainName(text); got != want {
		t.Errorf("field name of %+q: got %q, want %q", text, got, want)
	}
	if got, want := string(appendCamelCase(nil, text)), camelCase(text); got != want {
		t.Errorf("event key of %+q: got %q, want %q", text, got, want)
	}
}

// TestNamesOfEveryCharacter compares names with the simplest implementations. Beyond plane 2 Unicode has no
// decompositions, so one character in 256 represents those.
func TestNamesOfEveryCharacter(t *testing.T) {
	var text []byte
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if utf8.ValidRune(r) && (r < 0x30000 || r%256 == 0) {
			text = append(utf8.AppendRune(append(text[:0], "XMl"...), r), "cD"...)
			checkNames(t, text)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, seed := range []string{
		"", "Product Added", "XMLHttp", "signup_completed", "Café", "Cafe\u0301", "Order #2 Paid", "購入 Buy", "한글 Word",
		"ﷺX", "①②", "½ off",
		"a\u0315\u0300\u05aeb", "\u0344x", "ﬁrst ﬂoor", "ABC\u0301d", strings.Repeat("é", 100),
		strings.Repeat("a\u0300", 70), "\u1e9b\u0323",
		"a" + strings.Repeat("\u0300", 40) + "b",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !utf8.Valid(text) {
			t.Skip() // names are UTF-8 before they come here
		}
		checkNames(t, text)
	})
}

// TestLongNamesTakeNoMemory makes names of texts whose NFKD is much longer.
func TestLongNamesTakeNoMemory(t *testing.T) {
	for _, character := range []string{"ﷺ", "é", "日", "㌖", "\u0301", "!", "x"} {
		text := bytes.Repeat([]byte(character), (64<<10)/len(character))
		var name [MaxNameLength]byte
		// Ten runs, since the runtime itself may allocate once meanwhile.
		if got := testing.AllocsPerRun(10, func() {
			_ = appendPlainName(name[:0], text)
			_ = appendCamelCase(name[:0], text)
		}); got > 0 {
			t.Errorf("%q: %v allocations", character, got)
		}
	}
}
