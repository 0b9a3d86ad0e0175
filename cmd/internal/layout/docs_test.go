package layout

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages returns the documents by their path below the project's root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	read(t, ".md", func(path, text string) { found[path] = text })
	if len(found) < 10 {
		t.Fatalf("found only %d pages", len(found))
	}
	return found
}

// read calls see for each file with a suffix, except files of third_party and build results.
func read(t *testing.T, suffix string, see func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "bin" || entry.Name() == "third_party" || entry.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, suffix) {
			return nil
		}
		text, err := os.ReadFile(path)
		see(path, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	for path, text := range pages(t) {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), found[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", path, found[1])
			}
		}
	}
}

// The index links to every page of deploy/docs.
func TestIndexListsEveryPage(t *testing.T) {
	all := pages(t)
	for _, dir := range []string{"deploy/docs", "deploy/docs/decisions"} {
		index := all[filepath.Join(root, dir, "README.md")]
		for path := range all {
			name := filepath.Base(path)
			if filepath.Dir(path) == filepath.Join(root, dir) && name != "README.md" && !strings.Contains(index, "]("+name+")") {
				t.Errorf("%s/README.md does not link to %s", dir, name)
			}
		}
	}
}

// The README is an entry point and not a manual.
func TestReadmeIsShort(t *testing.T) {
	if n := len(strings.Fields(pages(t)[filepath.Join(root, "README.md")])); n > 1200 {
		t.Errorf("the README has %d words; want at most 1200", n)
	}
}

func TestDocumentedTargetsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, found := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllStringSubmatch(string(makefile), -1) {
		targets[found[1]] = true
	}
	used := regexp.MustCompile("(?m)(?:`|^\\s*\\$? ?)make ([a-z0-9-]+)")
	for path, text := range pages(t) {
		for _, found := range used.FindAllStringSubmatch(text, -1) {
			if !targets[found[1]] {
				t.Errorf("%s: the Makefile has no %q", path, found[1])
			}
		}
	}
}

// Every message on the troubleshooting page exists in the programs.
func TestExplainedMessagesExist(t *testing.T) {
	var sources strings.Builder
	read(t, ".go", func(path, text string) {
		if !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "/sim/") {
			sources.WriteString(text)
		}
	})
	page := pages(t)[filepath.Join(root, "deploy/docs/troubleshooting.md")]
	quoted := regexp.MustCompile("(?m)^\\*\\*`([^`]+)`\\*\\*").FindAllStringSubmatch(page, -1)
	if len(quoted) < 10 {
		t.Fatalf("the page explains %d messages", len(quoted))
	}
	for _, message := range quoted {
		if !strings.Contains(sources.String(), message[1]) {
			t.Errorf("no program has the message %q", message[1])
		}
	}
}
