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

// A passage is a text that is checked as one, so that a phrase is found across the lines of a comment.
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

var kinds = []string{".go", ".md", ".yaml", ".yml", ".tpl", ".sh", ".json"}

// sources are the files to check, by their paths below the root.
func sources(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if slices.Contains([]string{".git", "bin", "testdata", "node_modules"}, name) {
				return filepath.SkipDir
			}
			return nil
		}
		if slices.Contains(kinds, filepath.Ext(name)) || slices.Contains([]string{"Makefile", "Dockerfile", "run"}, name) {
			relative, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			paths = append(paths, filepath.ToSlash(relative))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 100 {
		t.Fatalf("only %d files found below %s", len(paths), root)
	}
	return paths
}

func passages(t *testing.T, path string, data []byte) []passage {
	t.Helper()
	if filepath.Ext(path) != ".go" {
		return []passage{{1, uncommented(string(data))}}
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, data, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	if ast.IsGenerated(file) {
		return nil
	}
	var list []passage
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

// uncommented blanks what begins a line of a comment, and keeps the lines.
func uncommented(text string) string { return marker.ReplaceAllString(text, " ") }

// split puts a space between the words of an identifier.
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
