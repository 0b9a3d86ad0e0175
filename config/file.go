package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readFile reads a YAML file into the loader. It walks the parsed nodes instead of decoding into a struct, so that every value
// keeps its text (a fingerprint of digits must not become a number) and its line.
func (l *loader) readFile(name string) {
	body, err := os.Open(name)
	if err != nil {
		l.mistakes = append(l.mistakes, fmt.Errorf("--config: %w", err))
		return
	}
	defer func() { _ = body.Close() }()
	var document yaml.Node
	decoder := yaml.NewDecoder(body)
	if err := decoder.Decode(&document); err != nil {
		if !errors.Is(err, io.EOF) { // an empty file has no settings
			l.mistakes = append(l.mistakes, fmt.Errorf("%s: %s", name, unquoted.ReplaceAllString(err.Error(), "'…'")))
		}
		return
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		l.mistakes = append(l.mistakes, fmt.Errorf("%s: holds more than one document", name))
	}
	f := file{loader: l, name: name}
	f.section("", document.Content[0])
}

type file struct {
	*loader
	name string
}

// section reads the pairs of a mapping. prefix is "" or the mapping's name with a dot.
func (f file) section(prefix string, node *yaml.Node) {
	if node.Kind != yaml.MappingNode {
		f.complain(node, "must be a mapping of settings, one \"name: value\" per line", strings.TrimSuffix(prefix, "."))
		return
	}
	seen := map[string]bool{}
	for pair := range slices.Chunk(node.Content, 2) {
		key, value := prefix+pair[0].Value, pair[1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		switch {
		case seen[key]:
			f.complain(pair[0], "is given twice", key)
		case isSection(key):
			if value.Tag != "!!null" {
				f.section(key+".", value)
			}
		case !isKey(key):
			f.complain(pair[0], "is not a setting"+didYouMean(key), key)
		default:
			f.value(key, value)
		}
		seen[key] = true
	}
}

func (f file) value(key string, node *yaml.Node) {
	text, ok := scalar(node)
	switch {
	case !ok:
		f.complain(node, "must be a single value", key)
		return
	case text == "":
		return
	case byKey(key).file && !filepath.IsAbs(text):
		text = filepath.Join(filepath.Dir(f.name), text)
	}
	f.given[key] = value{text: text, from: f.at(node), layer: layerFile}
}

// scalar returns a value as text. A list becomes comma-separated text, as in the environment.
func scalar(node *yaml.Node) (string, bool) {
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		return "", true
	case node.Kind == yaml.ScalarNode:
		return strings.TrimSpace(node.Value), true
	case node.Kind != yaml.SequenceNode:
		return "", false
	}
	var items []string
	for _, item := range node.Content {
		if item.Kind != yaml.ScalarNode {
			return "", false
		}
		items = append(items, item.Value)
	}
	return strings.Join(items, ","), true
}

func (f file) at(node *yaml.Node) string { return fmt.Sprintf("%s, line %d", f.name, node.Line) }

// An unknown name may be a misplaced secret: "api_key 1-…" without its colon is one name. Errors also omit what the
// YAML library quotes from the file.
var (
	plainName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,40}$`)
	unquoted  = regexp.MustCompile(`'[^' ]{4,}'`)
)

func (f file) complain(node *yaml.Node, what, key string) {
	if !plainName.MatchString(key[strings.LastIndex(key, ".")+1:]) && key != "" {
		key = key[:strings.LastIndex(key, ".")+1] + "…"
	}
	if key == "" {
		f.mistakes = append(f.mistakes, fmt.Errorf("%s: %s", f.name, what))
		return
	}
	f.mistakes = append(f.mistakes, fmt.Errorf("%s (%s): %s", key, f.at(node), what))
}
