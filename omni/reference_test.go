package omni

import (
	"fmt"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/config/reference"
)

const page = "../deploy/docs/machine-class.md"

// The reference documents every setting of a machine class with the texts of Omni's form.
func TestReference(t *testing.T) {
	reference.Hold(t, page, "./omni -run Reference", "| setting | | allowed |\n|-|-|-|\n"+rows("", classFields()))
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

// The machine class in the reference is valid.
func TestReferenceClass(t *testing.T) {
	example := reference.Example(t, page)
	if _, err := parseClass(fromYAML(example)); err != nil {
		t.Error(err)
	}
	fitsSchema(t, page, example)
}
