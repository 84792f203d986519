package saasquatch

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"

	"segment-saasquatch/adapter"
)

// secrets are the forms in which requests carry a credential, the longest first. A proxy or a debug page may repeat
// the request in its answer.
type secrets []string

// credentialForms returns the API key as it is and in the encodings of HTTP Basic: with the user name, and as proxies
// repeat it without.
func credentialForms(userName string, key adapter.Secret) secrets {
	plain := key.Reveal()
	if plain == "" {
		return nil
	}
	forms := secrets{plain}
	for _, text := range []string{userName + ":" + plain, ":" + plain, plain + ":", plain} {
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			forms = append(forms, encoding.EncodeToString([]byte(text)))
		}
	}
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(forms)
}

const secretShown = "[secret]"

// authorizationValue finds a header with credentials and its value. They need not be ours: a proxy adds its own.
var authorizationValue = regexp.MustCompile(`(?i)(authorization["']?\s*[:=]>?\s*["']?)[^\r\n"'<]+`)

// hide returns the text without the secrets. The text must be unescaped.
func (s secrets) hide(text string) string {
	text = authorizationValue.ReplaceAllString(text, "${1}"+secretShown)
	for _, form := range s {
		text = strings.ReplaceAll(text, form, secretShown)
	}
	return text
}

// clean hides the secrets in the message of a failed call.
func (s secrets) clean(e *adapter.APIError) *adapter.APIError {
	e.Message = s.hide(unescape(e.Message))
	return e
}
