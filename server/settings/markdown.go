package settings

import (
	"fmt"
	"strings"
)

// Markdown returns the table of the documentation, with a heading for each group.
func Markdown() string {
	var b strings.Builder
	group := ""
	for _, s := range Table() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n### %s\n\n| setting | values | without it | on the NAS | can change | TrueNAS |\n|-|-|-|-|-|-|\n", group)
		}
		fmt.Fprintf(&b, "| `%s`: %s | %s | %s | %s | %s | %s |\n", s.Name, s.About, s.values(), s.Default, s.NAS, s.Change, s.since())
	}
	return strings.TrimSpace(b.String()) + "\n"
}

func (s Setting) values() string {
	switch s.Kind {
	case Choice:
		return "`" + strings.Join(s.Allowed, "`, `") + "`"
	case Number:
		return strings.TrimSpace(fmt.Sprintf("%d to %d %s", s.Min, s.Max, s.Unit))
	case Switch:
		return "`true`, `false`"
	case List:
		return "texts, separated by commas"
	}
	return "text"
}

// since names the releases that have the setting and those that each value needs.
func (s Setting) since() string {
	text := Oldest.String()
	if Oldest.Before(s.Since) {
		text = s.Since.String()
	}
	for _, value := range s.Allowed {
		if newer, ok := s.Newer[value]; ok {
			text += fmt.Sprintf("; `%s` %s", value, newer)
		}
	}
	return text
}
