package exposition

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// These patterns parse a subset of PromQL, because Prometheus's own parser is part of a module that is larger than this project.
// They recognize names and labels by their form, and match brackets by counting.
var (
	quoted   = regexp.MustCompile(`"(\\.|[^"\\])*"`)
	selector = regexp.MustCompile(`\b([a-z_:][a-z0-9_:]*)\s*\{([^}]*)\}`)
	bare     = regexp.MustCompile(`\b(truenas_provider_[a-z_]+|process_[a-z_]+|go_[a-z_]+)\b`)
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring)\s*\(([^)]*)\)`)
	matcher  = regexp.MustCompile(`([a-zA-Z_]+)\s*(?:=~|!~|!=|=)`)
)

// everywhere lists the labels that Prometheus adds.
var everywhere = []string{"job", "instance"}

// Query returns the metrics and labels of a PromQL expression that the program does not expose, as texts.
func Query(exposed []Family, expr string) []string {
	var wrong []string
	text := quoted.ReplaceAllString(expr, `""`)
	for _, pair := range []string{"()", "{}", "[]"} {
		if strings.Count(text, pair[:1]) != strings.Count(text, pair[1:]) {
			wrong = append(wrong, fmt.Sprintf("%s: %s are not balanced", expr, pair))
		}
	}
	var labels []string // of all metrics in the expression
	names := bare.FindAllString(text, -1)
	if len(names) == 0 {
		wrong = append(wrong, expr+": names no metric")
	}
	for _, name := range names {
		f, ok := family(exposed, name)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s: there is no metric %s", expr, name))
		}
		labels = append(labels, f.Labels...)
		if strings.HasSuffix(name, "_bucket") {
			labels = append(labels, "le")
		}
	}
	for _, s := range selector.FindAllStringSubmatch(text, -1) {
		f, _ := family(exposed, s[1])
		for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
			if !slices.Contains(slices.Concat(f.Labels, everywhere), m[1]) {
				wrong = append(wrong, fmt.Sprintf("%s: %s has no label %s", expr, s[1], m[1]))
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(text, -1) {
		for label := range strings.SplitSeq(g[1], ",") {
			if label = strings.TrimSpace(label); !slices.Contains(slices.Concat(labels, everywhere), label) {
				wrong = append(wrong, fmt.Sprintf("%s: nothing in it has a label %s", expr, label))
			}
		}
	}
	return wrong
}

// family returns a metric by the name of one of its series. Metrics that every program exposes count as known.
func family(exposed []Family, name string) (Family, bool) {
	if strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "go_") {
		return Family{}, true
	}
	for _, f := range exposed {
		series := []string{f.Name}
		if f.Type == "histogram" {
			series = []string{f.Name + "_bucket", f.Name + "_sum", f.Name + "_count"}
		}
		if slices.Contains(series, name) {
			return f, true
		}
	}
	return Family{}, false
}
