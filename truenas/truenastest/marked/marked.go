// Package marked makes secrets that can be recognised in any output, and searches for them.
//
//	marks := marked.New()
//	key := marks.Secret("API key")      // "mk0…", of letters and digits
//	…
//	for _, leak := range marks.In(log.Bytes()) { t.Errorf("the log holds the %s", leak) }
//
// The search finds a secret as it is, in any casing, and as base64, hexadecimal or percent-encoded text, also in the middle of
// a longer text that was encoded as a whole.
package marked

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Secrets are the marked secrets. Servers of a test may add some during a search.
type Secrets struct {
	mu    sync.Mutex
	forms map[string]map[string]string // by what a secret is: its forms in lower case, and what encoding each is
}

// New makes an empty set.
func New() *Secrets { return &Secrets{forms: map[string]map[string]string{}} }

// Secret makes a secret of 32 letters and digits. The same name always gives the same secret.
func (s *Secrets) Secret(name string) string {
	sum := sha256.Sum256([]byte("marked\x00" + name))
	text := "mk" + hex.EncodeToString(sum[:15])
	s.Add(name, text)
	return text
}

// Add has a text that was made elsewhere looked for too.
func (s *Secrets) Add(name, text string) {
	forms := map[string]string{strings.ToLower(text): "", hex.EncodeToString([]byte(text)): " in hexadecimal"}
	// The text may begin at any of the three places of a group of base64; what it shares with its neighbours is left out.
	for shift := range 3 {
		padded := append(bytes.Repeat([]byte{'.'}, shift), text...)
		encoded := base64.RawStdEncoding.EncodeToString(padded)
		from, to := (shift*8+5)/6, len(padded)*8/6
		part := strings.ToLower(encoded[from:to])
		forms[part] = " in base64"
		forms[strings.NewReplacer("+", "-", "/", "_").Replace(part)] = " in base64"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forms[name] = forms
}

// In names the secrets that a text holds, and their encodings.
func (s *Secrets) In(text []byte) []string {
	s.mu.Lock()
	known := maps.Clone(s.forms)
	s.mu.Unlock()
	found := map[string]bool{}
	for _, look := range [][]byte{bytes.ToLower(text), bytes.ToLower(unescaped(text))} {
		for name, forms := range known {
			for form, encoding := range forms {
				if bytes.Contains(look, []byte(form)) {
					found[name+encoding] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// unescaped decodes %41 and \u0041, and leaves alone what is neither.
func unescaped(text []byte) []byte {
	if !bytes.ContainsAny(text, `%\`) {
		return nil
	}
	var out []byte
	for i := 0; i < len(text); i++ {
		skip, digits := 0, ""
		switch {
		case text[i] == '%' && i+3 <= len(text):
			skip, digits = 3, string(text[i+1:i+3])
		case text[i] == '\\' && i+6 <= len(text) && text[i+1] == 'u' && string(text[i+2:i+4]) == "00":
			skip, digits = 6, string(text[i+4:i+6])
		}
		b, err := hex.DecodeString(digits)
		if skip == 0 || err != nil {
			out = append(out, text[i])
			continue
		}
		out = append(out, b...)
		i += skip - 1
	}
	return out
}
