package server

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestRolesAreDocumented compares the page for operators with the table in the code.
func TestRolesAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../deploy/docs/roles.md")
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (.+) \\| (`.+`) \\|$").FindAllStringSubmatch(string(page), -1) {
		written[row[1]] = strings.ReplaceAll(row[2], "`", "")
	}
	want := map[string]string{}
	for f, roles := range rolesOf {
		want[string(f)] = strings.Join(roles, ", ")
	}
	if !maps.Equal(written, want) {
		t.Errorf("the page lists %v, the code %v", slices.Sorted(maps.Keys(written)), slices.Sorted(maps.Keys(want)))
		for f, roles := range want {
			if written[f] != roles {
				t.Errorf("%s: the page lists %q, the code %q", f, written[f], roles)
			}
		}
	}
}
