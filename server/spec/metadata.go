package spec

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"virtrigaud-provider-truenas/server/refusal"
)

// CheckMetaData checks that meta_data is a single YAML mapping, as NoCloud requires.
func CheckMetaData(text []byte) error {
	_, err := ReadMetaData(text)
	return err
}

// ReadMetaData returns the mapping of a text; empty for an empty text. Its nodes keep the scalars as written, since guests
// read them by the rules of an older YAML than this library.
func ReadMetaData(text []byte) (*yaml.Node, error) {
	const field = "meta_data"
	bad := refusal.InvalidArgument(field, "must be a YAML mapping in UTF-8, such as instance-id: web1")
	if !utf8.Valid(text) {
		return nil, bad
	}
	documents := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := documents.Decode(&doc); errors.Is(err, io.EOF) {
		return &yaml.Node{Kind: yaml.MappingNode}, nil
	} else if err != nil {
		return nil, bad
	}
	if err := documents.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, refusal.InvalidArgument(field, "holds several YAML documents; guests read none of them, give one")
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return &yaml.Node{Kind: yaml.MappingNode}, nil
	}
	var values map[string]any // keys that are given twice fail here
	if root.Kind != yaml.MappingNode || root.Decode(&values) != nil {
		return nil, bad
	}
	return root, nil
}
