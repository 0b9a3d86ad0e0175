package words

import "strings"

// allowed lists texts that other programs write, and names of their objects. They do not count in the files below path.
var allowed = []struct{ path, text, reason string }{
	{"cmd/internal/words/", "", "the lint itself"},
}

// isAllowed reports whether the words at offset are part of an allowed text.
func isAllowed(path, text string, h hit) bool {
	for _, a := range allowed {
		if !strings.HasPrefix(path, a.path) {
			continue
		}
		from := max(0, h.offset-len(a.text))
		to := min(len(text), h.offset+len(h.words)+len(a.text))
		if strings.Contains(text[from:to], a.text) {
			return true
		}
	}
	return false
}
