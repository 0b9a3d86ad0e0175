package words

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

const root = "../../.."

// A passage is a text that is checked as a unit, so that a phrase is found across the lines of a comment.
type passage struct {
	line int
	text string
}

func TestWords(t *testing.T) {
	for _, path := range sources(t) {
		data, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range passages(t, path, data) {
			for _, h := range find(p.text) {
				if isAllowed(path, p.text, h) {
					continue
				}
				line := p.line + strings.Count(p.text[:h.offset], "\n")
				t.Errorf("%s:%d: %q: write %s", path, line, h.words, h.instead)
			}
		}
	}
}

// kinds are the suffixes of files that people write, and bare the names of such files without a suffix.
var (
	kinds = []string{".go", ".md", ".yaml", ".yml", ".tpl", ".sh", ".json", ".proto", ".txtar", ".html", ".css"}
	bare  = []string{"Makefile", "Dockerfile", "CODEOWNERS", "run", "build", "init"}
)

// sources returns the files to check, by their paths below the root. In testdata only scripts are checked, because the other
// files are input.
func sources(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains([]string{filepath.Join(root, ".git"), filepath.Join(root, "bin")}, path) {
				return filepath.SkipDir
			}
			return nil
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if relative = filepath.ToSlash(relative); isSource(relative) {
			paths = append(paths, relative)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func isSource(path string) bool {
	if strings.Contains(path, "/testdata/") {
		return strings.HasSuffix(path, ".txtar")
	}
	return slices.Contains(kinds, filepath.Ext(path)) || slices.Contains(bare, filepath.Base(path))
}

// passages returns the texts of a file and its name.
func passages(t *testing.T, path string, data []byte) []passage {
	t.Helper()
	name := passage{1, split(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))}
	if filepath.Ext(path) != ".go" {
		return []passage{name, {1, uncommented(string(data))}}
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, data, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	if ast.IsGenerated(file) {
		return nil
	}
	list := []passage{name}
	named := map[string]bool{}
	for _, group := range file.Comments {
		text := string(data[set.Position(group.Pos()).Offset:set.Position(group.End()).Offset])
		list = append(list, passage{set.Position(group.Pos()).Line, uncommented(text)})
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			if !named[n.Name] {
				named[n.Name] = true
				list = append(list, passage{set.Position(n.Pos()).Line, split(n.Name)})
			}
		case *ast.BasicLit:
			if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil {
				list = append(list, passage{set.Position(n.Pos()).Line, text})
			}
		}
		return true
	})
	return list
}

var marker = regexp.MustCompile(`(?m)^[ \t]*(?://|#)`)

// uncommented replaces comment markers with spaces, and keeps the lines.
func uncommented(text string) string { return marker.ReplaceAllString(text, " ") }

// split separates the words of an identifier with spaces.
func split(name string) string {
	var b strings.Builder
	before := ' '
	for _, r := range name {
		if unicode.IsUpper(r) && unicode.IsLower(before) || r == '_' {
			b.WriteByte(' ')
		}
		if r != '_' {
			b.WriteRune(r)
		}
		before = r
	}
	return b.String()
}

// TestSources fails if a kind of text is not checked, in any part of the repository.
func TestSources(t *testing.T) {
	paths := sources(t)
	for _, want := range []string{
		"README.md", "CHANGELOG.md", "Makefile", "Dockerfile", ".ci/run", ".golangci.yml", ".github/CODEOWNERS",
		"cmd/internal/words/rules_test.go", "cmd/virtrigaud-provider-truenas/testdata/script/doctor.txtar",
		"server/server.go", "server/spec/mark.go", "omni/doc.go", "omni/machine/machine.proto", "truenas/client.go",
		"truenas/sim/doc.go", "config/config.go", "deploy/docs/troubleshooting.md", "deploy/ipxe/build", "cmd/internal/e2e/run",
	} {
		if !slices.Contains(paths, want) {
			t.Errorf("%s is not checked", want)
		}
	}
	if len(paths) < 900 {
		t.Errorf("%d files are checked, want more than 900", len(paths))
	}
}

// TestPassages finds a forbidden word in every kind of text.
func TestPassages(t *testing.T) {
	for name, file := range map[string]struct{ path, text string }{
		"a package comment":  {"a.go", "// Package a tells.\npackage a\n"},
		"a comment":          {"a.go", "package a\n\nfunc f() {\n\t_ = 1 // it tells\n}\n"},
		"a block comment":    {"a.go", "package a\n\n/*\n it\n tells\n*/\n"},
		"two lines":          {"a.go", "package a\n\n// it is no longer used, and it lets\n// go of a lock\n"},
		"a string":           {"a.go", "package a\n\nvar s = \"it tells\"\n"},
		"a raw string":       {"a.go", "package a\n\nvar s = `it\ntells`\n"},
		"a struct tag":       {"a.go", "package a\n\ntype s struct{ F int `yaml:\"tells\"` }\n"},
		"a name":             {"a.go", "package a\n\nfunc tellCaller() {}\n"},
		"a test's name":      {"a_test.go", "package a\n\nfunc TestItTellsAll() {}\n"},
		"a field":            {"a.go", "package a\n\ntype s struct{ told int }\n"},
		"the name of a file": {"server/sweep_mishaps_test.go", "package a\n"},
		"Markdown":           {"a.md", "# It\n\nIt tells.\n"},
		"a manifest":         {"a.yaml", "# it tells\nkind: A\n"},
		"a value":            {"a.yaml", "summary: it tells\n"},
		"a script of a test": {"a.txtar", "# It tells.\nexec a\n"},
		"a shell's comment":  {"run", "#!/bin/sh\n# it\n# tells\n"},
		"a protobuf comment": {"a.proto", "// It tells.\nmessage A {}\n"},
	} {
		found := 0
		for _, p := range passages(t, file.path, []byte(file.text)) {
			found += len(find(p.text))
		}
		if found != 1 {
			t.Errorf("%s: %d findings, want 1", name, found)
		}
	}
	generated := "// Code generated by protoc-gen-go. DO NOT EDIT.\n\npackage a\n\n// It tells.\n"
	if list := passages(t, "a.pb.go", []byte(generated)); len(list) > 0 {
		t.Errorf("generated code has %d passages", len(list))
	}
}

// TestAllowed keeps the list of exceptions short, and each with a reason.
func TestAllowed(t *testing.T) {
	if len(allowed) > 10 {
		t.Errorf("%d texts are allowed; rewrite some", len(allowed))
	}
	for _, a := range allowed {
		if a.path == "" || a.reason == "" || a.text == "" && a.path != "cmd/internal/words/" {
			t.Errorf("%+v: an exception needs a path, a text and a reason", a)
		}
	}
}

func TestRules(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"The caller is told why.", []string{"told"}},
		{split("tellCaller"), []string{"tell"}},
		{split("told_of"), []string{"told"}},
		{"A file that is\n  no image", []string{"is\n  no image"}},
		{"there is no image; it is no longer used and is no larger than 1 MiB", nil},
		{"the process is no more; it knows jobs no more.", []string{"is no more", "knows jobs no more"}},
		{"a well-known port is well-known; the NAS is well", []string{"is well"}},
		{"lets go of the lock", []string{"lets go of"}},
		{"an alias of itself", []string{"of itself"}},
		{"retold, strikethrough, lesser, amends", nil},
		{split("copyGoesOn"), []string{"Goes On"}},
		{"a copy is not whole; it has sizes that are whole MiB", []string{"is not whole"}},
		{"a stand-in goes online and stands alone", nil},
		{"it is on its\nway and stays for ever", []string{"for ever", "on its\nway"}},
	} {
		var got []string
		for _, h := range find(tt.text) {
			got = append(got, h.words)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q: found %q, want %q", tt.text, got, tt.want)
		}
	}
}
