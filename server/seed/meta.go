package seed

import (
	"bytes"
	"errors"

	"go.yaml.in/yaml/v3"

	"virtrigaud-provider-truenas/server/spec"
)

// metaData is the caller's meta data, and the instance id and the host name where it has none, in block style: guests
// such as busybox's read it line by line.
func metaData(s spec.VM, machine string) []byte {
	root, err := spec.ReadMetaData(s.MetaData)
	if err != nil {
		root = &yaml.Node{Kind: yaml.MappingNode} // It was checked with the request.
	}
	var given map[string]any
	_ = root.Decode(&given) // likewise
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
	_ = errors.Join(encoder.Encode(root), encoder.Close()) // What was read from YAML can be written.
	return text.Bytes()
}
