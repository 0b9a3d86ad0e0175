package server

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"virtrigaud-provider-truenas/server/refusal"
)

// checkMetaData says whether meta_data is one YAML mapping, which is all that NoCloud takes.
func checkMetaData(text []byte) error {
	_, err := readMetaData(text)
	return err
}

// readMetaData answers the mapping in a text; an empty one where there is none. Its nodes keep the scalars as they were
// written, since guests read them by the rules of an older YAML than this library does.
func readMetaData(text []byte) (*yaml.Node, error) {
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

// metaData is the caller's meta data, and the instance id and the host name where it has none, in block style: guests
// such as busybox's read it line by line.
func metaData(s spec, machine string) []byte {
	root, err := readMetaData(s.metaData)
	if err != nil {
		root = &yaml.Node{Kind: yaml.MappingNode} // It was checked with the request.
	}
	var given map[string]any
	_ = root.Decode(&given) // likewise
	root.Style = 0
	for _, entry := range []struct{ key, value string }{{"instance-id", machine}, {"local-hostname", s.name}} {
		if _, ok := given[entry.key]; ok {
			continue
		}
		value := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: entry.value}
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: entry.key}, value)
	}
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	_ = errors.Join(encoder.Encode(root), encoder.Close()) // What was read from YAML can be written.
	return text.Bytes()
}
