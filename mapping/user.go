package mapping

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// userField is a field of SaaSquatch's open user upsert, except id, accountId, customFields and segments. Bodies have
// the fields in this order.
type userField uint8

const (
	userEmail userField = iota
	userFirstName
	userLastName
	userImageURL
	userLocale
	userReferredByCodes
	// Only users.from_track_body sets the following, which pass unchecked.
	userReferable
	userReferralCode
	userReferralCodes
	userShareLinks
	userPaymentProviderID
	userCountryCode
	userDateUsTaxFormSubmitted
	userReferredBy
	userCookies
	userFieldCount
	userNone = userFieldCount
)

// userFieldNames are the names of OpenUserStub in SaaSquatch's API definition.
var userFieldNames = [userFieldCount]string{
	"email", "firstName", "lastName", "imageUrl", "locale", "referredByCodes",
	"referable", "referralCode", "referralCodes", "shareLinks", "paymentProviderId",
	"countryCode", "dateUsTaxFormSubmitted", "referredBy", "cookies",
}

func userFieldOf(name []byte) userField {
	for field, known := range userFieldNames {
		if string(name) == known {
			return userField(field)
		}
	}
	return userNone
}

// profile holds the JSON value of each field of a user; nil if there is none.
type profile [userFieldCount][]byte

// appendProfile appends the fields that the user has. It leaves out an invalid one with a warning, since SaaSquatch
// refuses a whole upsert for one invalid field (M17, M18).
func (e *encoder) appendProfile(user *profile) {
	for i, value := range user {
		if isNullOrAbsent(value) || i == int(userReferredByCodes) && isEmptyArray(value) {
			continue
		}
		start := len(e.dst)
		e.raw(`,"`)
		e.raw(userFieldNames[i])
		e.raw(`":`)
		if !e.appendUserField(userField(i), value) {
			e.dst = e.dst[:start]
			e.warnings |= warnFieldInvalid
		}
	}
}

// appendUserField appends the value. If it returns false, the value does not fit, and the caller must discard what it
// appended.
func (e *encoder) appendUserField(field userField, value []byte) bool {
	switch field {
	case userFirstName, userLastName:
		if e.textOf(value) == nil {
			return false
		}
		e.appendString(value, MaxStringChars)
		return true
	case userEmail:
		text := bytes.TrimSpace(e.textOf(value))
		return isEmail(text) && e.appendWholeText(text)
	case userImageURL:
		return e.appendWhole(value)
	case userLocale:
		return e.appendLocale(value)
	case userReferredByCodes:
		return e.appendCodes(value)
	default:
		e.dst = append(e.dst, value...)
		return true
	}
}

func isNullOrAbsent(value []byte) bool { return value == nil || string(value) == "null" }

func isEmptyArray(value []byte) bool {
	return value[0] == '[' && value[skipSpace(value, 1)] == ']'
}

// textOf returns the text of a string that is not blank; else nil.
func (e *encoder) textOf(value []byte) []byte {
	if value == nil || value[0] != '"' {
		return nil
	}
	if text := unquote(value, e.validUTF8); !isBlank(text) {
		return text
	}
	return nil
}

// appendWhole appends a string that is not blank. It returns false if the string is too long, since a part would mean
// something else.
func (e *encoder) appendWhole(value []byte) bool {
	text := e.textOf(value)
	return text != nil && e.appendWholeText(text)
}

func (e *encoder) appendWholeText(text []byte) bool {
	if _, truncated := truncate(text, MaxStringChars, MaxStringBytes); truncated {
		return false
	}
	e.quoted(text)
	return true
}

// minEmail and minTopLevel are the minimum lengths of an e-mail address and of its top-level domain, in characters.
// SaaSquatch publishes them with its error RS023, which refuses the whole upsert.
const (
	minEmail    = 7
	minTopLevel = 2
)

// isEmail reports whether SaaSquatch may accept the text as an e-mail address.
func isEmail(text []byte) bool {
	local, domain, ok := bytes.Cut(text, []byte("@"))
	dot := bytes.LastIndexByte(domain, '.')
	return ok && len(local) > 0 && dot > 0 && bytes.IndexByte(domain, '@') < 0 &&
		utf8.RuneCount(text) >= minEmail && utf8.RuneCount(domain[dot+1:]) >= minTopLevel &&
		!bytes.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
}

// appendCodes appends referral codes, an array of strings or one string. It leaves out invalid elements.
func (e *encoder) appendCodes(value []byte) bool {
	start := len(e.dst)
	e.raw("[")
	if value[0] != '[' {
		if !e.appendWhole(value) {
			return false
		}
		e.raw("]")
		return true
	}
	for element := range elementsOf(value, 0).each {
		length := len(e.dst)
		e.separate()
		if !e.appendWhole(element) {
			e.dst = e.dst[:length]
			e.warnings |= warnFieldInvalid
		}
	}
	e.raw("]")
	return len(e.dst) > start+len("[]")
}

// localeLength is the length of ll_CC in bytes.
const localeLength = 5

// appendLocale appends ll-CC or ll_CC, in any case, as ll_CC, the only form that SaaSquatch accepts (M18).
func (e *encoder) appendLocale(value []byte) bool {
	text := e.textOf(value)
	if len(text) != localeLength || text[2] != '-' && text[2] != '_' {
		return false
	}
	locale := [localeLength]byte{toLower(text[0]), toLower(text[1]), '_', toUpper(text[3]), toUpper(text[4])}
	if !isLower(locale[0]) || !isLower(locale[1]) || !isUpper(locale[3]) || !isUpper(locale[4]) {
		return false
	}
	e.quoted(locale[:])
	return true
}
