package omni

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Limits of provider data. A user who can create machine requests can write any data into them, and every step checks the data
// again, so the check has to be fast.
const (
	maxNodes   = 4096 // names and values; an alias counts each time it is used
	maxStrings = 256  // in a list of strings
	maxWrong   = 20   // mistakes in one report
	maxMistake = 300  // bytes of one mistake
)

// bounded is provider data within these limits.
type bounded map[string]any

// UnmarshalYAML checks the number of nodes before it decodes maps, because decoding takes time quadratic in their size.
func (b *bounded) UnmarshalYAML(node *yaml.Node) error {
	if n := nodes(node, maxNodes); n > maxNodes {
		return fmt.Errorf("it has more than %d names and values", maxNodes)
	}
	return node.Decode((*map[string]any)(b))
}

// nodes counts nodes and stops at most. An alias counts as the nodes that it refers to.
func nodes(node *yaml.Node, most int) int {
	if node == nil {
		return 0
	}
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	n := 1
	for _, child := range node.Content {
		if n > most {
			return n
		}
		n += nodes(child, most-n)
	}
	return n
}

// textOf joins the mistakes into one message, with at most maxWrong of them.
func textOf(wrong []string) string {
	if more := len(wrong) - maxWrong; more > 0 {
		wrong = append(wrong[:maxWrong:maxWrong], fmt.Sprintf("and %d more", more))
	}
	for i, text := range wrong {
		if len(text) > maxMistake {
			wrong[i] = strings.ToValidUTF8(text[:maxMistake], "") + "…"
		}
	}
	return strings.Join(wrong, "; ")
}
