package check

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"helm.sh/helm/v3/pkg/strvals"
)

// TestDocumentedHelmCommands renders the charts with the values in the documentation.
func TestDocumentedHelmCommands(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	tried := map[string]bool{}
	for _, page := range pages {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(string(content), " ")
		for _, command := range regexp.MustCompile(`(?m)^\s*helm install (\S+) deploy/(\S+) (.*)$`).FindAllStringSubmatch(text, -1) {
			values := map[string]any{}
			for _, set := range regexp.MustCompile(`--set (\S+)`).FindAllStringSubmatch(command[3], -1) {
				if err := strvals.ParseInto(set[1], values); err != nil {
					t.Fatalf("%s: %s: %v", page, set[1], err)
				}
			}
			objects := rendered(t, "../"+command[2], values)
			fit(t, page, objects)
			checkPrograms(t, page, objects)
			tried["../"+command[2]] = true
		}
	}
	if !tried[providerChart] || !tried[omniChart] {
		t.Errorf("only these charts are documented: %v", tried)
	}
}

// TestLinks checks that the files exist to which the pages of this folder link.
func TestLinks(t *testing.T) {
	for _, page := range []string{"../README.md", "../api-key.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join("..", link[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}
