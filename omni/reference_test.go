package omni

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the reference anew")

const (
	reference = "../deploy/docs/machine-class.md"
	begin     = "<!-- begin: go test ./omni -run Reference -update -->\n"
	end       = "<!-- end -->\n"
)

// The reference has every setting of a machine class, with the words of Omni's form.
func TestReference(t *testing.T) {
	content, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(content), begin)
	shown, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no table between its marks", reference)
	}
	want := "| setting | | allowed |\n|-|-|-|\n" + rows("", classFields())
	if *update {
		if err := os.WriteFile(reference, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if shown != want {
		t.Errorf("%s is not what a machine class is; write it anew with -update", reference)
	}
}

func rows(at string, fields []field) string {
	var b strings.Builder
	for _, f := range fields {
		name := "`" + at + f.name + "`"
		if f.required {
			name += " (required)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, strings.ReplaceAll(f.description, "|", `\|`), f.allows())
		b.WriteString(rows(at+f.name+"[].", f.items))
	}
	return b.String()
}

func (f field) allows() string {
	switch {
	case f.kind == integer:
		return fmt.Sprintf("%d to %d", f.min, f.max)
	case f.kind == boolean:
		return "`true`, `false`"
	case len(f.allowed) > 0:
		return "`" + strings.Join(f.allowed, "`, `") + "`"
	case f.kind == array:
		return "a list"
	}
	return "a text"
}

// The machine class that the reference shows is one that can be used.
func TestReferenceClass(t *testing.T) {
	content, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(content), "```yaml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatalf("%s shows no machine class", reference)
	}
	if _, err := parseClass(fromYAML(example)); err != nil {
		t.Error(err)
	}
}
