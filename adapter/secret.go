package adapter

import (
	"fmt"
	"io"
	"log/slog"
)

const masked = "********"

// Secret is a credential that does not print: not with fmt, not as JSON, YAML or text, not in a zap
// or slog field. [Secret.Reveal] is the only way to its text.
//
// The text is behind a pointer because fmt prints the fields of a struct for a verb that it finds
// unsuitable, whatever methods the type has.
type Secret struct{ text *string }

// NewSecret wraps text. Without text there is no credential.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the credential itself, for use in a request or a comparison.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no credential.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String returns a mask, or nothing if there is no credential.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return masked
}

// GoString returns the mask.
func (s Secret) GoString() string { return s.String() }

// Format writes the mask whatever the verb, since %d and the like would
// otherwise print the fields of the struct.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText returns the mask; encoders of JSON and others use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML returns the mask.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue returns the mask.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// UnmarshalText reads the credential from a configuration file.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}
