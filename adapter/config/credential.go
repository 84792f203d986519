package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"segment-saasquatch/adapter"
)

// mask is the text that every secret prints as.
var mask = adapter.NewSecret("-").String()

// credential is one credential and its setting. Its faults and warnings name the kind of mistake and show nothing of
// the text.
type credential struct {
	setting *setting
	header  string // the name of the connection's header, for segment.header.value
	file    string // the variable that could name a file with it instead; "" for none
	text    string
}

// Keys of the settings whose credentials have rules of their own.
const (
	sharedSecretKey = "segment.shared_secret"
	bearerTokenKey  = "segment.bearer_token"
	basicKeyKey     = "segment.basic_key"
	headerValueKey  = "segment.header.value"
	adminTokenKey   = "admin.token"
	storeKey        = "store"
	apiKeyKey       = "saasquatch.api_key"
)

// minAdminToken is the least number of characters of a token of the admin API.
const minAdminToken = 16

// problem returns why the credential can never be right and the remedy, or "".
func (c *credential) problem() string {
	if problem := unreadable(c.text); problem != "" {
		return problem
	}
	switch {
	case c.isNamed():
		return "begins with a name: write the value alone"
	case authorizationPrefix.MatchString(c.text) && c.setting.Key != headerValueKey:
		return "begins with Authorization: write the value alone, without the header's name and scheme"
	case schemePrefix.MatchString(c.text) && c.hasScheme():
		return "begins with an authentication scheme, Bearer or Basic: write the value alone, not encoded"
	case c.holdsReference():
		return "contains a variable or a template, such as ${NAME}, that was not replaced: " + c.remedy()
	case isPlaceholder(c.text):
		return "is a placeholder: " + c.remedy()
	case secretFile.MatchString(c.text):
		return "is the path of a file: " + c.remedy()
	case jsonText.MatchString(c.text):
		return "is JSON: write the value alone"
	}
	return c.kindProblem()
}

// holdsReference reports whether the text contains a variable or a template that was not replaced.
func (c *credential) holdsReference() bool {
	return wholeReference.MatchString(c.text) || heldReference.MatchString(c.text) ||
		c.isPlain() && plainReference.MatchString(c.text)
}

// unreadable returns why a text cannot have been written on purpose and the remedy, or "".
func unreadable(text string) string {
	switch {
	case strings.TrimSpace(text) == "":
		return "is empty: remove it or fill it in"
	case text == mask:
		return "is the mask that stands for a secret in a printed configuration: write the secret itself"
	case strings.HasPrefix(text, byteOrderMark):
		return "begins with a byte order mark: save its source as UTF-8 without one"
	case strings.TrimSpace(text) != text:
		return "begins or ends with white space: remove it"
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return "contains a control character or is not UTF-8: write the secret alone, on one line"
	case strings.ContainsFunc(text, isInvisible):
		return "contains an invisible character: type it again"
	}
	return ""
}

// kindProblem checks the rules of the credential's setting.
func (c *credential) kindProblem() string {
	hasSpace := strings.ContainsFunc(c.text, unicode.IsSpace)
	switch key := c.setting.Key; {
	case key == basicKeyKey && strings.Contains(c.text, ":"):
		return "contains a colon, which a Basic user name cannot: write the key alone"
	case key == apiKeyKey && userPrefix.MatchString(c.text):
		return "contains a user name before a colon: " +
			"write the key alone here, and an AccountSID into saasquatch.user_name"
	case key == apiKeyKey && hasSpace:
		return "contains white space: write the key alone"
	case key == adminTokenKey && isQuoted(c.text):
		return "is in quotation marks, which a bearer token cannot contain: remove them"
	case key == adminTokenKey && utf8.RuneCountInString(c.text) < minAdminToken:
		return fmt.Sprintf("is shorter than %d characters: write a longer one, such as openssl rand -hex 32 prints",
			minAdminToken)
	case key == adminTokenKey && !bearerPattern.MatchString(c.text):
		return "contains a character that a bearer token cannot: write letters, digits and - . _ ~ + / only"
	}
	return ""
}

var (
	authorizationPrefix = regexp.MustCompile(`(?i)^authorization\s*[:=]`)
	schemePrefix        = regexp.MustCompile(`(?i)^(?:bearer|basic)(?:[\s:]|$)`)
	secretFile          = regexp.MustCompile(`^(?:file:|(?:/var)?/run/secrets/|[A-Za-z]:\\|~/)`)
	// jsonText is the form in which secret managers store several values. It is also a YAML or JSON list, which an
	// environment variable does not accept.
	jsonText = regexp.MustCompile(`^(?:\{\s*".*\}|\[\s*["'].*\])$`)
	// userPrefix is an empty user name, as in curl -u, or an AccountSID.
	userPrefix = regexp.MustCompile(`^(?:|[A-Za-z]{2}[0-9A-Za-z]+):`)
	// bearerPattern is RFC 6750's form of a bearer token.
	bearerPattern = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)
)

// hasScheme reports whether a request sends the value after an authentication scheme.
func (c *credential) hasScheme() bool {
	return slices.Contains([]string{bearerTokenKey, basicKeyKey, adminTokenKey, apiKeyKey}, c.setting.Key)
}

// isPlain reports whether the value has only letters, digits and few other characters.
func (c *credential) isPlain() bool {
	return c.setting.Key == apiKeyKey || c.setting.Key == adminTokenKey
}

// isNamed reports whether the name of the variable, key or header precedes the value, as in a line of an env-file.
func (c *credential) isNamed() bool {
	text := strings.TrimPrefix(c.text, "export ")
	for _, name := range []string{c.setting.Env, lastWord(c.setting.Key), c.header} {
		if name == "" || len(text) <= len(name) || !strings.EqualFold(text[:len(name)], name) {
			continue
		}
		rest := strings.TrimLeft(text[len(name):], " ")
		if strings.HasPrefix(rest, "=") || strings.HasPrefix(rest, ":") {
			return true
		}
	}
	return false
}

func (c *credential) remedy() string {
	if c.file == "" {
		return "write the secret itself"
	}
	return "write the secret itself, or name a file that contains it in " + c.file
}

// doubts returns probable mistakes in the credential. They may be part of it.
func (c *credential) doubts() (list []string) {
	const unlessMeant = ": remove it, unless the secret really has it"
	doubt := func(text string) { list = append(list, text) }
	switch {
	case isQuoted(c.text):
		doubt("is in quotation marks, which count as part of it: remove them, unless the secret really has them")
	case hasQuote(c.text):
		doubt("begins or ends with a quotation mark, which counts as part of it" + unlessMeant)
	case lowerReference.MatchString(c.text):
		doubt("looks like a variable that was not replaced: " +
			"write the secret itself, unless it really begins with a dollar sign")
	}
	if strings.ContainsFunc(c.text, unicode.IsSpace) {
		doubt("contains white space, which counts as part of it" + unlessMeant)
	}
	if strings.HasSuffix(c.text, `\n`) || strings.HasSuffix(c.text, `\r`) {
		doubt("ends with a backslash and a letter, which is no line break here: " +
			"remove them, unless the secret really has them")
	}
	if c.inHeader() && strings.ContainsFunc(c.text, func(r rune) bool { return r > unicode.MaxASCII }) {
		doubt("contains a character outside ASCII, which Segment does not send in a header: use another secret")
	}
	return list
}

// inHeader reports whether a header contains the value unencoded. Basic encodes it.
func (c *credential) inHeader() bool {
	return c.setting.Key == bearerTokenKey || c.setting.Key == headerValueKey
}

// credentialsOf returns the credentials of a setting, each with its key.
func (c *Config) credentialsOf(s *setting, prefix string, conn *Connection) (keys []string, found []credential) {
	one := credential{setting: s}
	if prefix == "" && c.origins[s.Key] != origin(s.EnvFile()) {
		one.file = s.EnvFile()
	}
	if s.Key == headerValueKey {
		one.header = conn.Segment.Header.Name
	}
	switch f := s.field(c, conn).(type) {
	case scalar[adapter.Secret]:
		if !f.p.IsZero() {
			one.text = f.p.Reveal()
			return []string{prefix + s.Key}, []credential{one}
		}
	case list[adapter.Secret]:
		for i, secret := range *f.p {
			one.text = secret.Reveal()
			keys, found = append(keys, elementKey(prefix+s.Key, i, len(*f.p))), append(found, one)
		}
	}
	return keys, found
}

// credentials checks the credentials of one setting.
func (v *validator) credentials(key, prefix string, conn *Connection) {
	keys, list := v.config.credentialsOf(settingOf(key), prefix, conn)
	for i := range list {
		v.text(keys[i], list[i].problem())
	}
}
