package reference

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// judged records the outcome of a test.
type judged struct {
	testing.TB
	failed bool
}

func (j *judged) Helper()               {}
func (j *judged) Errorf(string, ...any) { j.failed = true }

// Fatalf does not return.
func (j *judged) Fatalf(string, ...any) { j.failed = true; panic(j) }

// hold reports whether a page with that content passes.
func hold(t *testing.T, content, want string) (passed bool) {
	t.Helper()
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	j := &judged{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(j) {
			panic(r)
		}
		passed = !j.failed
	}()
	Hold(j, page, "./config -run Reference", want)
	return
}

func TestHold(t *testing.T) {
	page := "# A page\n<!-- begin: go test ./config -run Reference -update -->\n| a |\n<!-- end -->\nMore.\n"
	for _, tt := range []struct {
		name, content string
		passes        bool
	}{
		{"the table as it should be", page, true},
		{"another table", strings.Replace(page, "| a |", "| b |", 1), false},
		{"a too long table", strings.Replace(page, "| a |", "| a |\n| b |", 1), false},
		{"no end", strings.Replace(page, end, "", 1), false},
		{"a table of something else", strings.Replace(page, "./config", "./omni", 1), false},
		{"no table", "# A page\n", false},
	} {
		if got := hold(t, tt.content, "| a |\n"); got != tt.passes {
			t.Errorf("%s: passes is %v", tt.name, got)
		}
	}
}

func TestUpdate(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	content := "Before.\n<!-- begin: go test ./x -update -->\nold\n<!-- end -->\nAfter.\n"
	if err := os.WriteFile(page, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	was := *update
	*update = true
	Hold(t, page, "./x", "new\n")
	*update = was
	got, err := os.ReadFile(page)
	if want := strings.Replace(content, "old", "new", 1); err != nil || string(got) != want {
		t.Errorf("the page is\n%s%v\nwant\n%s", got, err, want)
	}
}
