package spec

import (
	"strings"
	"testing"
)

func TestNamesAreChecked(t *testing.T) {
	for name, says := range map[string]string{
		"": "must not be empty", "a\xff": "must be UTF-8", "a\x1f": "control characters", "a\x7f": "control characters",
		strings.Repeat("x", maxName+1): "at most",
	} {
		if err := CheckName("name_hint", name); err == nil || !strings.HasPrefix(err.Error(), "name_hint: ") || !strings.Contains(err.Error(), says) {
			t.Errorf("%.5q: got %v, want name_hint with %q", name, err, says)
		}
	}
	for _, name := range []string{"a", " ", strings.Repeat("x", maxName)} {
		if err := CheckName("name_hint", name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}
