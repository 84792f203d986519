package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"segment-saasquatch/adapter"
)

// mask is what every secret prints as.
var mask = adapter.NewSecret("-").String()

// credential is one credential and the setting that holds it. Its faults and warnings
// name the kind of mistake and show nothing of the text.
type credential struct {
	setting *setting
	// header is the name of the header in the connection, for segment.header.value.
	header string
	// file is the variable that could name a file for it instead; "" for none.
	file string
	text string
}

// Keys of the settings that differ in what their credentials may hold.
const (
	sharedSecretKey = "segment.shared_secret"
	bearerTokenKey  = "segment.bearer_token"
	basicKeyKey     = "segment.basic_key"
	headerValueKey  = "segment.header.value"
	adminTokenKey   = "admin.token"
	storeKey        = "store"
	apiKeyKey       = "saasquatch.api_key"
)

// problem returns why the credential can never be right, and the remedy; "" if it
// can be.
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
		return "holds a variable or a template, such as ${NAME}, that nothing has replaced: " + c.remedy()
	case isPlaceholder(c.text):
		return "is a placeholder: " + c.remedy()
	case secretFile.MatchString(c.text):
		return "is the path of a file: " + c.remedy()
	case jsonText.MatchString(c.text):
		return "is JSON: write the value alone"
	}
	return c.kindProblem()
}

// holdsReference reports whether something should have been replaced in the text.
func (c *credential) holdsReference() bool {
	return wholeReference.MatchString(c.text) || heldReference.MatchString(c.text) ||
		c.isPlain() && plainReference.MatchString(c.text)
}

// unreadable returns what no text that was written on purpose holds.
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
		return "holds a control character or is not UTF-8: write the secret alone, on one line"
	case strings.ContainsFunc(text, isInvisible):
		return "holds an invisible character: type it anew"
	}
	return ""
}

// kindProblem returns what is wrong with a credential of its kind alone.
func (c *credential) kindProblem() string {
	switch c.setting.Key {
	case basicKeyKey:
		if strings.Contains(c.text, ":") {
			return "holds a colon, which a Basic user name cannot: write the key alone"
		}
	case apiKeyKey:
		if userPrefix.MatchString(c.text) {
			return "holds a user name before a colon: " +
				"write the key alone here, and an AccountSID into saasquatch.user_name"
		}
		if strings.ContainsFunc(c.text, unicode.IsSpace) {
			return "holds white space: write the key alone"
		}
	case adminTokenKey:
		switch {
		case isQuoted(c.text):
			return "stands in quotation marks, which a bearer token cannot hold: remove them"
		case utf8.RuneCountInString(c.text) < minAdminToken:
			return fmt.Sprintf("is shorter than %d characters: write a longer one, such as openssl rand -hex 32 makes",
				minAdminToken)
		case !bearerPattern.MatchString(c.text):
			return "holds a character that a bearer token cannot: write letters, digits and - . _ ~ + / only"
		}
	}
	return ""
}

var (
	authorizationPrefix = regexp.MustCompile(`(?i)^authorization\s*[:=]`)
	schemePrefix        = regexp.MustCompile(`(?i)^(?:bearer|basic)(?:[\s:]|$)`)
	secretFile          = regexp.MustCompile(`^(?:file:|(?:/var)?/run/secrets/|[A-Za-z]:\\|~/)`)
	// jsonText is what secret managers store for several values, and a YAML or JSON
	// list, which an environment variable does not take.
	jsonText = regexp.MustCompile(`^(?:\{\s*".*\}|\[\s*["'].*\])$`)
	// userPrefix is an empty user name, as curl -u takes it, or an AccountSID.
	userPrefix = regexp.MustCompile(`^(?:|[A-Za-z]{2}[0-9A-Za-z]+):`)
	// bearerPattern is RFC 6750's form of a bearer token.
	bearerPattern = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)
)

// hasScheme reports whether the value travels behind a scheme that is no part of it.
func (c *credential) hasScheme() bool {
	switch c.setting.Key {
	case bearerTokenKey, basicKeyKey, adminTokenKey, apiKeyKey:
		return true
	}
	return false
}

// isPlain reports whether the value has letters, digits and few signs only.
func (c *credential) isPlain() bool {
	return c.setting.Key == apiKeyKey || c.setting.Key == adminTokenKey
}

// isNamed reports whether the name of the variable, key or header precedes the value, as
// in a line of an env-file.
func (c *credential) isNamed() bool {
	last := c.setting.Key[strings.LastIndexByte(c.setting.Key, '.')+1:]
	text := strings.TrimPrefix(c.text, "export ")
	for _, name := range []string{c.setting.Env, last, c.header} {
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
	return "write the secret itself, or name a file that holds it in " + c.file
}

// doubts returns what is probably wrong with the credential, though it may really hold that.
func (c *credential) doubts() (list []string) {
	doubt := func(problem, remedy string) { list = append(list, problem+": "+remedy) }
	switch {
	case isQuoted(c.text):
		doubt("stands in quotation marks, which count as part of it", "remove them, unless the secret really has them")
	case hasQuote(c.text):
		doubt("begins or ends with a quotation mark, which counts as part of it",
			"remove it, unless the secret really has it")
	case lowerReference.MatchString(c.text):
		doubt("looks like a variable that nothing has replaced",
			"write the secret itself, unless it really begins with a dollar sign")
	}
	if strings.ContainsFunc(c.text, unicode.IsSpace) {
		doubt("holds white space, which counts as part of it", "remove it, unless the secret really has it")
	}
	if strings.HasSuffix(c.text, `\n`) || strings.HasSuffix(c.text, `\r`) {
		doubt("ends with a backslash and a letter, which is no line break here",
			"remove them, unless the secret really has them")
	}
	if c.inHeader() && strings.ContainsFunc(c.text, func(r rune) bool { return r > unicode.MaxASCII }) {
		doubt("holds a character outside ASCII, which Segment does not send in a header", "use another secret")
	}
	return list
}

// inHeader reports whether the value travels in a header as it stands. Basic encodes it.
func (c *credential) inHeader() bool {
	return c.setting.Key == bearerTokenKey || c.setting.Key == headerValueKey
}

// credentialsOf returns the credentials of a setting and the key of each.
func (c *Config) credentialsOf(s *setting, prefix string, conn *Connection) (keys []string, list []credential) {
	one := credential{setting: s}
	if prefix == "" && c.origins[s.Key] != origin(s.EnvFile()) {
		one.file = s.EnvFile()
	}
	if s.Key == headerValueKey {
		one.header = conn.Segment.Header.Name
	}
	switch f := s.field(c, conn).(type) {
	case secretField:
		if !f.p.IsZero() {
			one.text = f.p.Reveal()
			return []string{prefix + s.Key}, []credential{one}
		}
	case secretsField:
		for i, secret := range *f.p {
			one.text = secret.Reveal()
			keys, list = append(keys, elementKey(prefix+s.Key, i, len(*f.p))), append(list, one)
		}
	}
	return keys, list
}

// settingOf returns the setting with a key of the table.
func settingOf(key string) *setting {
	for i := range settings {
		if settings[i].Key == key {
			return &settings[i]
		}
	}
	panic("no setting " + key)
}

// credentials checks the credentials of one setting.
func (v *validator) credentials(key, prefix string, conn *Connection) {
	keys, list := v.config.credentialsOf(settingOf(key), prefix, conn)
	for i := range list {
		if problem := list[i].problem(); problem != "" {
			v.fault(keys[i], "%s", problem)
		}
	}
}
