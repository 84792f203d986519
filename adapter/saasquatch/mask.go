package saasquatch

import (
	"bytes"
	"cmp"
	"html"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// mask hides the private texts of one request in the texts of its answer: the users' ids and the values of the body.
type mask struct {
	items []item
	// secrets are those of the request's header.
	secrets secrets
	// known are the texts to hide, the longest first; nil until the first text.
	known []hidden
}

// minHidden is the least length of a text to hide inside other words, in bytes. A shorter text is hidden only where it
// stands alone: as a part of a word it tells nothing, and without it the word would be unreadable.
const minHidden = 4

// maxMessage bounds the searched text, in bytes. A detail has at most maxDetail.
const maxMessage = 2 << 10

// hidden is one text to hide.
type hidden struct {
	text   string
	folded string // with lower-case ASCII letters
	shown  string // in its place
}

// hide returns the text without the private texts. It first decodes the escapes of URLs, JSON and HTML, so that it
// finds an id in them too. Its hole: an id of one to three bytes stays where it is a part of a word.
func (m *mask) hide(text string) string {
	whole := len(text) < maxStart
	if len(text) > maxMessage {
		text = text[:maxMessage]
	}
	if !whole {
		text = withoutOpenEscape(text)
	}
	text = m.secrets.hide(unescape(text))
	folded := fold(text)
	all := m.hidden()
	if !whole {
		ends := slices.Clone(all)
		for _, form := range m.secrets {
			ends = append(ends, hidden{form, fold(form), secretShown})
		}
		text = withoutOpenEnd(text, folded, ends)
		folded = folded[:len(text)]
	}
	found := make([]hidden, 0, 8)
	for _, h := range all {
		if strings.Contains(folded, h.folded) {
			found = append(found, h)
		}
	}
	var b strings.Builder
next:
	for i := 0; i < len(text); {
		for _, h := range found {
			if end := i + len(h.text); strings.HasPrefix(folded[i:], h.folded) &&
				(len(h.text) >= minHidden || text[i:end] == h.text && standsAlone(text, i, end)) {
				b.WriteString(h.shown)
				i = end
				continue next
			}
		}
		b.WriteByte(text[i])
		i++
	}
	return b.String()
}

// hidden returns the private texts, the longest first: an account's id may begin with a user's.
func (m *mask) hidden() []hidden {
	if m.known != nil {
		return m.known
	}
	all, seen := []hidden{}, make(map[string]bool)
	add := func(text, shown string) {
		if text != "" && !seen[text] {
			seen[text] = true
			all = append(all, hidden{text, fold(text), shown})
		}
	}
	for i := range m.items {
		for _, id := range []string{m.items[i].userID, m.items[i].accountID} {
			add(id, "[id]")
			if strings.Contains(id, " ") { // as a form encodes it
				add(strings.ReplaceAll(id, " ", "+"), "[id]")
			}
		}
	}
	for i := range m.items {
		if key := m.items[i].eventKey; key != "" {
			seen[key] = true // an id stays hidden
		}
	}
	for i := range m.items {
		for _, value := range bodyValues(m.items[i].body) {
			add(value, "[value]")
		}
	}
	slices.SortStableFunc(all, func(a, b hidden) int { return cmp.Compare(len(b.text), len(a.text)) })
	m.known = all
	return all
}

// fold returns the text with lower-case ASCII letters. The result has the same length; the text need not be UTF-8.
func fold(text string) string {
	folded := []byte(text)
	for i, c := range folded {
		if 'A' <= c && c <= 'Z' {
			folded[i] = c + 'a' - 'A'
		}
	}
	return string(folded)
}

// withoutOpenEnd returns a cut-off text without an end that may be the beginning of a text to hide.
func withoutOpenEnd(text, folded string, all []hidden) string {
	end := len(text)
	for _, h := range all {
		for n := min(len(h.folded)-1, len(folded), maxStart); n > 0; n-- {
			if strings.HasSuffix(folded, h.folded[:n]) {
				end = min(end, len(text)-n)
				break
			}
		}
	}
	return text[:end]
}

// longestEscape is the length of the longest escape, a number of HTML, in bytes.
const longestEscape = len("&#x10ffff;")

// withoutOpenEscape returns a cut-off text without an escape at its end that may be incomplete.
func withoutOpenEscape(text string) string {
	for range 2 * longestEscape { // a character may be several escapes
		i := strings.LastIndexAny(text[max(0, len(text)-longestEscape):], `%&\`)
		if i < 0 {
			break
		}
		text = text[:max(0, len(text)-longestEscape)+i]
	}
	return text
}

// Kinds of characters. A word ends where they change.
const (
	separatorRune = iota
	letterRune
	digitRune
	loneRune // of a script without spaces between words
)

func kindOf(r rune) int {
	switch {
	case unicode.IsDigit(r):
		return digitRune
	case unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic):
		return letterRune
	case unicode.IsLetter(r):
		return loneRune
	default:
		return separatorRune
	}
}

// standsAlone reports whether the part of the text is not a part of a word. A word also ends between a letter and a
// digit, so that u12 does not show the id 12.
func standsAlone(text string, from, to int) bool {
	first, _ := utf8.DecodeRuneInString(text[from:])
	last, _ := utf8.DecodeLastRuneInString(text[:to])
	before, size := utf8.DecodeLastRuneInString(text[:from])
	if size > 0 && joined(kindOf(before), kindOf(first)) {
		return false
	}
	after, size := utf8.DecodeRuneInString(text[to:])
	return size == 0 || !joined(kindOf(after), kindOf(last))
}

// joined reports whether a neighbour and the edge of a text belong to one word.
func joined(neighbour, edge int) bool {
	switch {
	case neighbour == separatorRune || neighbour == loneRune || edge == loneRune:
		return false
	case edge == separatorRune: // an id such as a dot, within a word
		return true
	default:
		return neighbour == edge
	}
}

// unescape decodes the escapes of JSON, URLs and HTML, nested ones too.
func unescape(text string) string {
	for range 3 {
		plain := html.UnescapeString(unescapePercent(unescapeJSON(text)))
		if plain == text {
			break
		}
		text = plain
	}
	return text
}

var (
	percentEscape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	// jsonEscape matches an escape in a JSON string. A surrogate takes the escape after it along.
	jsonEscape = regexp.MustCompile(`\\(?:["\\/]|u[Dd][89A-Fa-f][0-9A-Fa-f]{2}(?:\\u[0-9A-Fa-f]{4})?|u[0-9A-Fa-f]{4})`)
)

// unescapePercent decodes each valid escape; url.PathUnescape decodes nothing if one is invalid.
func unescapePercent(text string) string {
	return percentEscape.ReplaceAllStringFunc(text, func(escape string) string {
		return string([]byte{byte(hexUnit(escape[1:]))})
	})
}

// unescapeJSON decodes the escapes of JSON strings in any text.
func unescapeJSON(text string) string {
	return jsonEscape.ReplaceAllStringFunc(text, func(escape string) string {
		if escape[1] != 'u' {
			return escape[1:]
		}
		unit := hexUnit(escape[2:6])
		if len(escape) > 6 {
			unit = utf16.DecodeRune(unit, hexUnit(escape[8:]))
		}
		return string(unit)
	})
}

// hexUnit reads hexadecimal digits.
func hexUnit(digits string) rune {
	unit, _ := strconv.ParseUint(digits, 16, 16)
	return rune(unit)
}

// bodyValues returns the values in a JSON body: strings of two or more bytes, and numbers of four or more, since
// shorter ones may be limits or statuses in a message. Names of members are not values.
func bodyValues(body []byte) (values []string) {
	decoder := jsontext.NewDecoder(bytes.NewReader(body))
	for {
		token, err := decoder.ReadToken()
		if err != nil {
			return values
		}
		switch token.Kind() {
		case jsontext.KindNumber:
			if text := token.String(); len(text) >= minHidden {
				values = append(values, text)
			}
			continue
		case jsontext.KindString:
		default:
			continue
		}
		// An odd length inside an object means that this string is a name.
		kind, length := decoder.StackIndex(decoder.StackDepth())
		if kind == jsontext.KindBeginObject && length%2 == 1 {
			continue
		}
		if text := token.String(); len(text) > 1 {
			values = append(values, text)
		}
	}
}
