package config

import "fmt"

const hidden = "(hidden)"

// Secret is a text that fmt, JSON, YAML and zap do not print. Use [Secret.Reveal].
type Secret struct {
	// A pointer, because fmt calls no methods on unexported fields. It prints the pointer's address there, and not the text.
	text *string
}

// NewSecret returns a Secret of a text. The Secret of an empty text is the zero value.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal returns the text, for the place that needs it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// String returns "(hidden)", or nothing for the zero Secret.
func (s Secret) String() string {
	if s.text == nil {
		return ""
	}
	return hidden
}

// Format answers every verb of fmt with String.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, s.String()) }

// MarshalText returns the placeholder for JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
