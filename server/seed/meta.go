package seed

import (
	"bytes"
	"errors"

	"go.yaml.in/yaml/v3"

	"virtrigaud-provider-truenas/server/spec"
)

// metaData returns the caller's meta data, with the instance id and the host name added if they are missing, in block style: guests
// such as busybox's read it line by line.
func metaData(s spec.VM, machine string) []byte {
	root, err := spec.ReadMetaData(s.MetaData)
	if err != nil {
		root = &yaml.Node{Kind: yaml.MappingNode} // The request's parser has checked it.
	}
	var given map[string]any
	_ = root.Decode(&given) // The request's parser has checked it.
	root.Style = 0
	for _, entry := range []struct{ key, value string }{{"instance-id", machine}, {"local-hostname", s.Name}} {
		if _, ok := given[entry.key]; ok {
			continue
		}
		value := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: entry.value}
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: entry.key}, value)
	}
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	_ = errors.Join(encoder.Encode(root), encoder.Close()) // A parsed document can always be encoded.
	return text.Bytes()
}
