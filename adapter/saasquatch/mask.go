package saasquatch

import (
	"cmp"
	"html"
	"iter"
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
	// known are the private texts that messages may have, nil until the first message.
	known []hidden
}

// minHidden is the least length of a text to hide inside other words, in bytes. A shorter text is hidden only where it
// stands alone: as a part of a word it tells nothing, and without it the word would be unreadable.
const minHidden = 4

// maxMessage bounds the searched text, in bytes. A detail has at most maxDetail.
const maxMessage = 2 << 10

// hidden is one text to hide.
type hidden struct {
	text  string
	shown string // in its place
}

const (
	idShown    = "[id]"
	valueShown = "[value]"
)

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
	text = m.plain(text)
	folded := fold(text)
	if !whole {
		text = m.withoutOpenEnd(text, folded)
		folded = folded[:len(text)]
	}
	found := m.find(folded)
	var b strings.Builder
next:
	for i := 0; i < len(text); {
		for _, h := range found {
			if end := i + len(h.text); strings.HasPrefix(folded[i:], fold(h.text)) &&
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

// plain returns a text without escapes and secrets.
func (m *mask) plain(text string) string { return m.secrets.hide(unescape(text)) }

// expect prepares the mask for messages. It saves the search of all items for each of them.
func (m *mask) expect(messages []string) {
	for _, message := range messages {
		if len(message) >= maxStart { // it may end with the beginning of a private text
			return
		}
	}
	m.known = m.find(fold(m.plain(strings.Join(messages, "\n"))))
}

// find returns the private texts that are in a folded text. The longest come first, since an account's id may begin
// with a user's. No text comes twice; one that is an id and a value is an id.
func (m *mask) find(folded string) []hidden {
	found := []hidden{}
	pairs := pairsOf(folded)
	for _, h := range m.texts() {
		if pairs.mayHave(h.text) && strings.Contains(folded, fold(h.text)) && !m.isEventKey(h) {
			found = append(found, h)
		}
	}
	slices.SortFunc(found, func(a, b hidden) int {
		return cmp.Or(cmp.Compare(len(b.text), len(a.text)), strings.Compare(a.text, b.text),
			strings.Compare(a.shown, b.shown))
	})
	return slices.CompactFunc(found, func(a, b hidden) bool { return a.text == b.text })
}

// isEventKey reports whether a value is the name of an event, which is not private.
func (m *mask) isEventKey(h hidden) bool {
	return h.shown == valueShown && slices.ContainsFunc(m.items, func(i item) bool { return i.eventKey == h.text })
}

// texts returns the private texts and the names of events, some of them more than once.
func (m *mask) texts() []hidden {
	if m.known != nil {
		return m.known
	}
	m.known = make([]hidden, 0, 32*len(m.items))
	add := func(text, shown string) {
		if text != "" {
			m.known = append(m.known, hidden{text, shown})
		}
	}
	for i := range m.items {
		for _, id := range [...]string{m.items[i].userID, m.items[i].accountID} {
			add(id, idShown)
			if strings.Contains(id, " ") { // as a form encodes it
				add(strings.ReplaceAll(id, " ", "+"), idShown)
			}
		}
		for value := range bodyValues(string(m.items[i].body)) {
			add(value, valueShown)
		}
	}
	return m.known
}

// pairs are the pairs of neighbouring bytes in a folded text. They rule out most of the thousands of texts of a bulk
// call in a tenth of the time of a search.
type pairs [1 << 10]uint64

func pairsOf(folded string) *pairs {
	var p pairs
	for i := 1; i < len(folded); i++ {
		pair := uint16(folded[i-1])<<8 | uint16(folded[i])
		p[pair/64] |= 1 << (pair % 64)
	}
	return &p
}

// mayHave reports whether the text has the first and the last pair of bytes of a text that is not folded.
func (p *pairs) mayHave(text string) bool {
	has := func(first, second byte) bool {
		pair := uint16(foldByte(first))<<8 | uint16(foldByte(second))
		return p[pair/64]&(1<<(pair%64)) != 0
	}
	n := len(text)
	return n < 2 || has(text[0], text[1]) && has(text[n-2], text[n-1])
}

// fold returns the text with lower-case ASCII letters. The result has the same length; the text need not be UTF-8.
func fold(text string) string {
	folded := []byte(text)
	for i, c := range folded {
		folded[i] = foldByte(c)
	}
	return string(folded)
}

func foldByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// withoutOpenEnd returns a cut-off text without an end that may be the beginning of a text to hide.
func (m *mask) withoutOpenEnd(text, folded string) string {
	end := len(text)
	cut := func(hidden string) {
		for n := min(len(hidden)-1, len(folded), maxStart); n > 0; n-- {
			if strings.HasSuffix(folded, hidden[:n]) {
				end = min(end, len(text)-n)
				break
			}
		}
	}
	for _, h := range m.texts() {
		if !m.isEventKey(h) {
			cut(fold(h.text))
		}
	}
	for _, form := range m.secrets {
		cut(fold(form))
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

// bodyValues yields the values in a JSON body: strings of two or more bytes, and numbers of four or more, since
// shorter ones may be limits or statuses in a message. Names of members are not values. A decoder would take several
// times as long, and a bulk call has up to a hundred bodies.
func bodyValues(body string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := 0; i < len(body); {
			start := i
			switch c := body[i]; {
			case c == '"':
				escaped := false
				for i++; i < len(body) && body[i] != '"'; i++ {
					if body[i] == '\\' {
						escaped = true
						i++
					}
				}
				i = min(i+1, len(body))
				if isName(body[i:]) {
					continue
				}
				text := strings.Trim(body[start:i], `"`)
				if escaped {
					text = textOf(jsontext.Value(body[start:i]))
				}
				if len(text) > 1 && !yield(text) {
					return
				}
			case c == '-' || '0' <= c && c <= '9':
				for i++; i < len(body) && strings.IndexByte("+-.0123456789Ee", body[i]) >= 0; i++ {
				}
				if i-start >= minHidden && !yield(body[start:i]) {
					return
				}
			default:
				i++
			}
		}
	}
}

// isName reports whether a string of JSON is the name of a member, by the text behind it.
func isName(rest string) bool {
	if rest != "" && rest[0] <= ' ' {
		rest = strings.TrimLeft(rest, " \t\r\n")
	}
	return rest != "" && rest[0] == ':'
}
