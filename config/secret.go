package config

import "fmt"

const hidden = "(hidden)"

// Secret is a text that no way of printing shows: not fmt with any verb, not JSON or YAML, not zap. Use [Secret.Reveal].
type Secret struct {
	// A pointer, because fmt calls no method on a field it may not access: there it prints an address instead of the text.
	text *string
}

// NewSecret returns a Secret of a text. That of an empty text is the zero Secret.
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
