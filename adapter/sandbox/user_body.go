package sandbox

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// userPatch is the valid body of a create or upsert, or a line of an import.
type userPatch struct {
	ref      userRef
	fields   map[string]json.RawMessage
	custom   map[string]json.RawMessage // nil deletes
	segments []string                   // operations, in order
}

const (
	// maxCustomFields and the two below are from SaaSquatch's published schema
	// of custom fields and their documentation.
	maxCustomFields     = 100
	maxCustomFieldChars = 1024 // of a string, in code points
	maxCustomFieldName  = 64   // in bytes, all of ASCII
)

// userRule is what a standard field of a user must be.
type userRule uint8

const (
	userText userRule = iota + 1
	userEmail
	userLocale
	userCountry
	userBoolean
	userDate        // integer, Unix milliseconds
	userCode        // referral code
	userCodes       // array of referral codes
	userLinkMap     // object of links by program id
	userReferralMap // object of referral codes by program id
	userReferrer    // object: code, isConverted
	// Those below are of imports.
	userTexts       // array of strings
	userProgramMap  // object of strings by program id
	userOldReferrer // object: code, isConverted as a string
	userImage       // string or null
)

// userRules are the standard fields, from SaaSquatch's published API definition.
// Other members are ignored. That null is refused is assumed.
var userRules = map[string]userRule{
	"firstName":              userText,
	"lastName":               userText,
	"email":                  userEmail,
	"referable":              userBoolean,
	"referralCode":           userCode,
	"referralCodes":          userReferralMap,
	"paymentProviderId":      userText,
	"locale":                 userLocale,
	"countryCode":            userCountry,
	"dateUsTaxFormSubmitted": userDate,
	"referredBy":             userReferrer,
	"referredByCodes":        userCodes,
	"cookies":                userText,
	"imageUrl":               userText,
	"shareLinks":             userLinkMap,
}

// parseUser reads and judges the body of a create or upsert of the user in the
// path. Nothing of the patch points into the body.
func parseUser(r *reader, body []byte, path userRef) (userPatch, *apiError) {
	r.reset(body, "")
	return readUser(r, userForm{rules: userRules, path: &path, segments: true})
}

// userForm is what may stand in the description of a user.
type userForm struct {
	rules map[string]userRule
	// path is the user that the ids must name; nil for any.
	path     *userRef
	segments bool
}

func readUser(r *reader, form userForm) (userPatch, *apiError) {
	patch := userPatch{fields: make(map[string]json.RawMessage)}
	if fault := r.begin('{', "a JSON object"); fault != nil {
		return patch, fault
	}
	for {
		more, fault := r.more('}')
		if fault != nil {
			return patch, fault
		}
		if !more {
			break
		}
		name, fault := r.name()
		if fault != nil {
			return patch, fault
		}
		start := r.decoder.InputOffset()
		rule, keep := form.rules[string(name)]
		switch member := string(name); {
		case member == "id":
			name, keep = []byte("id"), true
			patch.ref.userID, fault = form.readUserID(r)
		case member == "accountId":
			name, keep = []byte("accountId"), true
			patch.ref.accountID, fault = form.readAccountID(r)
		case member == "customFields":
			patch.custom, fault = readCustomFields(r)
		case member == "segments" && form.segments:
			patch.segments, fault = readSegments(r)
		default:
			// Reading strings reuses the name's memory.
			name = bytes.Clone(name)
			fault = checkUserField(r, rule)
		}
		if fault != nil {
			return patch, fault
		}
		if keep {
			patch.fields[string(name)] = bytes.Clone(r.since(start))
		}
	}
	if fault := r.end(); fault != nil {
		return patch, fault
	}
	for _, name := range [...]string{"id", "accountId"} {
		if patch.fields[name] == nil {
			return patch, badRequest("%s is required.", name)
		}
	}
	return patch, nil
}

func (f userForm) readUserID(r *reader) (string, *apiError) {
	if f.path == nil {
		return readAnyID(r, errBlankUser)
	}
	return f.path.userID, readID(r, f.path.userID, errBlankUser)
}

func (f userForm) readAccountID(r *reader) (string, *apiError) {
	if f.path == nil {
		return readAnyID(r, errBlankAccount)
	}
	return f.path.accountID, readID(r, f.path.accountID, errBlankAccount)
}

// checkUserField reads a standard field, or skips an unknown one.
func checkUserField(r *reader, rule userRule) *apiError {
	switch rule {
	case userText:
		_, fault := r.string("a string")
		return fault
	case userEmail:
		return checkText(r, validEmail, "RS023", "must be an e-mail address")
	case userLocale:
		return checkText(r, validLocale, "RS039", "must be a locale such as en_US")
	case userCountry:
		return checkText(r, validCountry, "", "must be two capital letters")
	case userBoolean:
		if kind := r.decoder.PeekKind(); kind != jsontext.KindTrue && kind != jsontext.KindFalse {
			return r.wrong("a boolean")
		}
		return r.skip()
	case userDate:
		_, fault := r.integer("an integer")
		return fault
	case userCode:
		return checkText(r, validReferralCode, "RS034", wantReferralCode)
	case userCodes:
		return checkCodes(r)
	case userTexts:
		_, fault := readTexts(r)
		return fault
	case userLinkMap, userReferralMap, userProgramMap:
		return checkTextMap(r, rule)
	case userReferrer:
		return checkReferrer(r, userBoolean)
	case userOldReferrer:
		return checkReferrer(r, userText)
	case userImage:
		if kind := r.decoder.PeekKind(); kind != jsontext.KindString && kind != jsontext.KindNull {
			return r.wrong("a string or null")
		}
		return r.skip()
	default:
		return r.skip()
	}
}

func checkText(r *reader, valid func([]byte) bool, rsCode, want string) *apiError {
	text, fault := r.string("a string")
	if fault == nil && !valid(text) {
		return badRequestRS(rsCode, "%s %s", r.pointer(), want)
	}
	return fault
}

// validEmail checks what SaaSquatch publishes with RS023: at least 7 characters,
// a local part, and a top-level domain of at least 2.
func validEmail(text []byte) bool {
	local, domain, ok := bytes.Cut(text, []byte("@"))
	dot := bytes.LastIndexByte(domain, '.')
	return ok && len(local) > 0 && dot > 0 &&
		utf8.RuneCount(domain[dot+1:]) >= 2 && utf8.RuneCount(text) >= 7 &&
		!bytes.ContainsAny(text, " \t\r\n") && bytes.IndexByte(domain, '@') < 0
}

// validLocale checks the format language_COUNTRY of SaaSquatch's API definition.
func validLocale(text []byte) bool {
	return len(text) == 5 && isLower(text[0]) && isLower(text[1]) && text[2] == '_' && isUpper(text[3]) && isUpper(text[4])
}

// validCountry checks the form of an ISO 3166-1 alpha-2 code, not its existence.
func validCountry(text []byte) bool {
	return len(text) == 2 && isUpper(text[0]) && isUpper(text[1])
}

// maxReferralCode is published with RS034, in characters.
const maxReferralCode = 15

const wantReferralCode = "must be a referral code: 1 to 15 letters and digits"

// validReferralCode checks what SaaSquatch publishes with RS034. That the codes of
// those who referred a user are held to it as well is assumed.
func validReferralCode(text []byte) bool {
	for _, c := range text {
		if !isLower(c) && !isUpper(c) && !isDigit(c) {
			return false
		}
	}
	return 0 < len(text) && len(text) <= maxReferralCode
}

func checkCodes(r *reader) *apiError {
	if fault := r.begin('[', "an array"); fault != nil {
		return fault
	}
	for {
		more, fault := r.more(']')
		if fault != nil || !more {
			return fault
		}
		if fault := checkText(r, validReferralCode, "RS034", wantReferralCode); fault != nil {
			return fault
		}
	}
}

// validLink checks for a web address, which is all that is known of RS053.
func validLink(text []byte) bool {
	link, err := url.Parse(string(text))
	return err == nil && link.Host != "" && (link.Scheme == "https" || link.Scheme == "http")
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// checkTextMap reads an object of strings, which are links or referral codes but in
// imports. The names of referral codes are those of programs: 1 to 64 letters, digits
// and dashes, by SaaSquatch's schema.
func checkTextMap(r *reader, rule userRule) *apiError {
	if fault := r.begin('{', "an object"); fault != nil {
		return fault
	}
	for {
		more, fault := r.more('}')
		if fault != nil || !more {
			return fault
		}
		name, fault := r.name()
		if fault != nil {
			return fault
		}
		switch {
		case rule == userLinkMap:
			fault = checkText(r, validLink, "RS053", "must be a link")
		case !validName(name, '-'):
			fault = r.fault("is no id of a program")
		case rule == userProgramMap:
			_, fault = r.string("a string")
		default:
			fault = checkText(r, validReferralCode, "RS034", wantReferralCode)
		}
		if fault != nil {
			return fault
		}
	}
}

func checkReferrer(r *reader, converted userRule) *apiError {
	if fault := r.begin('{', "an object"); fault != nil {
		return fault
	}
	for {
		more, fault := r.more('}')
		if fault != nil || !more {
			return fault
		}
		name, fault := r.name()
		if fault != nil {
			return fault
		}
		var rule userRule
		switch string(name) {
		case "code":
			rule = userText
		case "isConverted":
			rule = converted
		}
		if fault := checkUserField(r, rule); fault != nil {
			return fault
		}
	}
}

// readCustomFields reads custom fields. SaaSquatch's schema allows letters,
// digits and underscores in their names; its documentation also names dashes,
// which are refused here.
func readCustomFields(r *reader) (map[string]json.RawMessage, *apiError) {
	if fault := r.begin('{', "an object"); fault != nil {
		return nil, fault
	}
	fields := make(map[string]json.RawMessage)
	for {
		more, fault := r.more('}')
		if fault != nil {
			return nil, fault
		}
		if !more {
			break
		}
		name, fault := r.name()
		if fault != nil {
			return nil, fault
		}
		if !validName(name, '_') {
			return nil, r.fault("is no name of a custom field: want 1 to %d letters, digits and underscores", maxCustomFieldName)
		}
		key, start := string(name), r.decoder.InputOffset()
		switch r.decoder.PeekKind() {
		case jsontext.KindBeginObject, jsontext.KindBeginArray:
			return nil, r.wrong("a string, number, boolean or null")
		case jsontext.KindNull:
			fields[key] = nil
			fault = r.skip()
		case jsontext.KindString:
			var text []byte
			if text, fault = r.string(""); fault == nil && utf8.RuneCount(text) > maxCustomFieldChars {
				fault = r.fault("must have at most %d characters", maxCustomFieldChars)
			}
			fields[key] = bytes.Clone(r.since(start))
		default:
			fault = r.skip()
			fields[key] = bytes.Clone(r.since(start))
		}
		if fault != nil {
			return nil, fault
		}
	}
	if len(fields) > maxCustomFields {
		return nil, r.fault("must have at most %d fields", maxCustomFields)
	}
	return fields, nil
}

// validName reports whether a name has 1 to 64 characters, each an ASCII letter,
// a digit or the extra one.
func validName(name []byte, extra byte) bool {
	if len(name) == 0 || len(name) > maxCustomFieldName {
		return false
	}
	for _, c := range name {
		if !isLower(c) && !isUpper(c) && !isDigit(c) && c != extra {
			return false
		}
	}
	return true
}

// readSegments reads operations on segments: "a" adds, "~a" removes and "~*"
// clears, in this order, by SaaSquatch's documentation of user segmentation. No
// characters are published for names; a blank one is refused.
func readSegments(r *reader) ([]string, *apiError) {
	operations, fault := readTexts(r)
	if fault != nil {
		return nil, fault
	}
	for _, operation := range operations {
		if strings.TrimSpace(strings.TrimPrefix(operation, "~")) == "" {
			return nil, r.fault("must not have an empty name")
		}
	}
	return operations, nil
}

func readTexts(r *reader) ([]string, *apiError) {
	if fault := r.begin('[', "an array"); fault != nil {
		return nil, fault
	}
	texts := []string{}
	for {
		more, fault := r.more(']')
		if fault != nil || !more {
			return texts, fault
		}
		text, fault := r.string("a string")
		if fault != nil {
			return nil, fault
		}
		texts = append(texts, string(text))
	}
}
