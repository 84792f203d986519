package mapping

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Integration is the name of a destination in the integrations object of calls,
// made ready for comparison.
type Integration struct {
	name string
	all  bool // it is Segment's word for all destinations
}

// allIntegrations is Segment's word for all destinations, which libraries write in
// any case: analytics-go's DisableAll makes "all", the Python library documents "All".
const allIntegrations = "all"

// NewIntegration returns the integration with the name, such as "SaaSquatch v2". The
// name "all", in any case, stands for all destinations.
func NewIntegration(name string) Integration {
	return Integration{name: name, all: strings.EqualFold(name, allIntegrations)}
}

// Switch reports whether the call's integrations object switches the integration on
// or off (M23); named is false if the object says nothing of it.
//
// The entry of exactly that name decides. Without one, the entries decide whose
// names are the same but for letter case and anything other than letters and digits,
// such as Segment's slug "saasquatch-v2"; of several, one that switches off wins. The
// spellings of "all" are equal: one that switches off wins.
//
// false, "false" in any case and the number 0 switch off. null and a blank string say
// nothing. Any other value switches on: an object holds the destination's settings.
func (c *Call) Switch(integration *Integration) (on, named bool) {
	object := c.env.values[envIntegrations]
	if object == nil {
		return false, false
	}
	all := membersOf(object, 0)
	for {
		quoted, ok := all.next()
		if !ok {
			return on, named
		}
		start := all.i
		all.i = skipValue(object, start)
		name := unquote(quoted, c.env.validUTF8)
		exact := !integration.all && string(name) == integration.name
		if !exact && !integration.alike(name) {
			continue
		}
		value := object[start:all.i]
		if saysNothing(value, c.env.validUTF8) {
			continue
		}
		if exact {
			return !isOff(value, c.env.validUTF8), true
		}
		on = (on || !named) && !isOff(value, c.env.validUTF8)
		named = true
	}
}

// alike reports whether the name may stand for the integration.
func (i *Integration) alike(name []byte) bool {
	if i.all {
		return len(name) == len(allIntegrations) && bytes.EqualFold(name, []byte(allIntegrations))
	}
	return sameWords(name, i.name)
}

// sameWords reports whether the texts have the same letters and digits, in any case
// and whatever stands between them. A text without any is like none.
func sameWords(a []byte, b string) bool {
	some := false
	for {
		first, n := nextLetter(a)
		second, m := nextLetterOf(b)
		if first != second {
			return false
		}
		if first == 0 {
			return some
		}
		some = true
		a, b = a[n:], b[m:]
	}
}

// nextLetter returns the first letter or digit in lower case and where the text goes
// on behind it, 0 if there is none.
func nextLetter(text []byte) (letter rune, next int) {
	for next < len(text) {
		r, size := utf8.DecodeRune(text[next:])
		next += size
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r), next
		}
	}
	return 0, next
}

func nextLetterOf(text string) (letter rune, next int) {
	for i, r := range text {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r), i + utf8.RuneLen(r)
		}
	}
	return 0, len(text)
}

// saysNothing reports whether the value is null or a blank string.
func saysNothing(value []byte, validUTF8 bool) bool {
	switch value[0] {
	case 'n':
		return true
	case '"':
		return isBlank(unquote(value, validUTF8))
	}
	return false
}

// isOff reports whether the value is false, "false" in any case, or a number that is
// zero.
func isOff(value []byte, validUTF8 bool) bool {
	switch {
	case value[0] == 'f':
		return true
	case value[0] == '"':
		return bytes.EqualFold(bytes.TrimSpace(unquote(value, validUTF8)), []byte("false"))
	case isNumber(value):
		for _, c := range value {
			switch {
			case c == 'e', c == 'E':
				return true
			case '1' <= c && c <= '9':
				return false
			}
		}
		return true
	}
	return false
}

// DeniesConsent reports whether context.consent.categoryPreferences denies one of the
// categories (M24), whose names count in any case; with no categories, whether it
// denies any. A preference is denied by what switches an integration off.
func (c *Call) DeniesConsent(categories []string) bool {
	context := c.env.values[envContext]
	// Most events have no preferences. A search for a letter that is rare costs far
	// less than a walk over the context. A backslash may stand for any letter.
	if len(context) == 0 || !bytes.Contains(context, []byte("Preferences")) && bytes.IndexByte(context, '\\') < 0 {
		return false
	}
	consent := findMember(context, "consent", c.env.validUTF8)
	preferences := findMember(consent, "categoryPreferences", c.env.validUTF8)
	if len(preferences) == 0 || preferences[0] != '{' {
		return false
	}
	all := membersOf(preferences, 0)
	for {
		quoted, ok := all.next()
		if !ok {
			return false
		}
		start := all.i
		all.i = skipValue(preferences, start)
		if !isOff(preferences[start:all.i], c.env.validUTF8) {
			continue
		}
		if len(categories) == 0 {
			return true
		}
		name := string(unquote(quoted, c.env.validUTF8))
		for _, category := range categories {
			if strings.EqualFold(name, category) {
				return true
			}
		}
	}
}
