package mapping

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Integration is the name of a destination in the integrations object of calls,
// made ready for comparison.
type Integration struct {
	name    string
	letters string // letters and digits of the name in lower case
	all     bool   // it is Segment's word for all destinations
}

// allIntegrations is Segment's word for all destinations, which libraries write in
// any case: analytics-go's DisableAll makes "all", the Python library documents "All".
const allIntegrations = "all"

// NewIntegration returns the integration with the name, such as "SaaSquatch v2". The
// name "all", in any case, stands for all destinations.
func NewIntegration(name string) Integration {
	letters := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
	return Integration{name: name, letters: letters, all: strings.EqualFold(name, allIntegrations)}
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
	for quoted, value := range membersOf(object, 0).each {
		name := unquote(quoted, c.env.validUTF8)
		exact := !integration.all && string(name) == integration.name
		if !exact && !integration.alike(name) {
			continue
		}
		if saysNothing(value, c.env.validUTF8) {
			continue
		}
		if exact {
			return !isOff(value, c.env.validUTF8), true
		}
		on = (on || !named) && !isOff(value, c.env.validUTF8)
		named = true
	}
	return on, named
}

// alike reports whether the name may stand for the integration.
func (i *Integration) alike(name []byte) bool {
	if i.all {
		return len(name) == len(allIntegrations) && bytes.EqualFold(name, []byte(allIntegrations))
	}
	letters := i.letters
	for _, r := range string(name) {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			continue
		}
		first, size := utf8.DecodeRuneInString(letters)
		if size == 0 || unicode.ToLower(r) != first {
			return false
		}
		letters = letters[size:]
	}
	return letters == "" && i.letters != ""
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
	for quoted, value := range membersOf(preferences, 0).each {
		if !isOff(value, c.env.validUTF8) {
			continue
		}
		name := string(unquote(quoted, c.env.validUTF8))
		same := func(category string) bool { return strings.EqualFold(name, category) }
		if len(categories) == 0 || slices.ContainsFunc(categories, same) {
			return true
		}
	}
	return false
}
