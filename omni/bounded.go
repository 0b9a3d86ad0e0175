package omni

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Bounds of provider data: whoever may make a machine request may write anything into it, and what is checked again at
// every step must not take long.
const (
	maxNodes   = 4096 // names and values, each once for every time it stands there
	maxStrings = 256  // in a list of texts
	maxWrong   = 20   // mistakes that are told
	maxMistake = 300  // characters of one
)

// bounded is provider data that is not larger than anybody needs.
type bounded map[string]any

// UnmarshalYAML looks at the parsed text before maps are made of it, which takes the square of their size.
func (b *bounded) UnmarshalYAML(node *yaml.Node) error {
	if n := nodes(node, maxNodes); n > maxNodes {
		return fmt.Errorf("it has more than %d names and values", maxNodes)
	}
	return node.Decode((*map[string]any)(b))
}

// nodes counts until there are too many. An alias counts as what it stands for.
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

// textOf are the mistakes as they are told.
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
