// Package reference compares the tables in the documentation with the programs that they describe. A test makes the table,
// and the page contains it between two marks. The first mark names the command that rewrites the table:
//
//	<!-- begin: go test ./config -run Reference -update -->
//	| in the file | flag |
//	…
//	<!-- end -->
//
// It is for tests only, and gives them the flag -update.
package reference

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the tables in the documentation")

const end = "<!-- end -->\n"

// Hold fails the test when the table of a page differs from the wanted one; with -update it writes the wanted table into the
// page. The arguments are those of "go test" for the calling test.
func Hold(t testing.TB, page, arguments, want string) {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	begin := "<!-- begin: go test " + arguments + " -update -->\n"
	before, rest, found := strings.Cut(string(content), begin)
	shown, after, closed := strings.Cut(rest, end)
	switch {
	case !found || !closed:
		t.Fatalf("%s has no table between %sand %s", page, begin, end)
	case shown == want:
	case !*update:
		t.Errorf("%s differs from the program; -update rewrites it. It has\n%s\nand should have\n%s", page, shown, want)
	default:
		if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o644); err != nil { //nolint:gosec // The documentation is public.
			t.Fatal(err)
		}
	}
}

// Example returns the first block of YAML on a page.
func Example(t testing.TB, page string) string {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(content), "```yaml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatalf("%s shows no YAML", page)
	}
	return example
}
