package mapping

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Integration is a destination in the integrations object of calls, prepared for comparison.
type Integration struct {
	name    string
	letters string // its letters and digits in lower case
	all     bool   // the name is Segment's word for all destinations
}

// allIntegrations is Segment's word for all destinations. Libraries write it in any case: analytics-go's DisableAll
// writes "all", and the Python library documents "All".
const allIntegrations = "all"

// NewIntegration returns the integration with this name, such as "SaaSquatch v2". The name "all", in any case, means
// all destinations.
func NewIntegration(name string) Integration {
	letters := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
	return Integration{name: name, letters: letters, all: strings.EqualFold(name, allIntegrations)}
}

// Switch reports whether the call's integrations object switches the integration on or off (M23). named is false if
// the object does not mention it.
//
// The entry with exactly this name decides. Without one, the entries decide whose letters and digits are the same in
// any case, such as Segment's slug "saasquatch-v2". If they disagree, off wins. The same holds for the spellings of
// "all".
//
// false, "false" in any case and the number 0 mean off. null and a blank string mean nothing. Any other value means
// on: an object holds the destination's settings.
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

// alike reports whether the name means the integration in another spelling.
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

// isOff reports whether the value is false, "false" in any case, or a number that is 0.
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

// DeniesConsent reports whether context.consent.categoryPreferences denies one of the categories, in any case (M24).
// Without categories, it reports whether any category is denied. The values that switch an integration off deny a
// category.
func (c *Call) DeniesConsent(categories []string) bool {
	context := c.env.values[envContext]
	// Most events have no preferences. A search for the word costs far less than a walk over the context. A backslash
	// may stand for any letter.
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
