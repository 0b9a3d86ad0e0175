package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// masked replaces times, counts, and the width of their columns, which differ between runs.
func masked(text string) string {
	text = regexp.MustCompile(`\b\d+(\.\d+)?(µs|ms|s)?\b`).ReplaceAllString(text, "N")
	return regexp.MustCompile(` {2,}`).ReplaceAllString(text, "  ")
}

// The output of the demo in the README is exactly that of the demo.
func TestTheReadmeShowsTheDemo(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(readme), "$ make demo\n")
	shown, _, closed := strings.Cut(after, "```")
	if !found || !closed {
		t.Fatal("the README has no output of the demo")
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"demo"}, os.LookupEnv, nil, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	printed := masked(out.String())
	for part := range strings.SplitSeq(shown, "[...]\n") {
		if !strings.Contains(printed, masked(part)) {
			t.Errorf("the README shows\n%s\nand the demo prints\n%s", part, out.String())
		}
	}
}
