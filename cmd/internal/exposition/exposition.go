// Package exposition compares the metrics that a program exposes with the documentation, the dashboard and the alert rules.
//
//	exposed, err := exposition.Of(registry)
//	wrong := exposition.Compare(exposed, exposition.Documented(page, "provider"))
//
// It is for tests, and ignores the metrics of the Go runtime and the process.
package exposition

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Family is a metric with all its labels.
type Family struct {
	Name   string
	Type   string   // counter, gauge or histogram
	Labels []string // in alphabetical order
	Help   string
}

// Row returns the row of the family in the documentation.
func (f Family) Row(programs string) string {
	labels := make([]string, len(f.Labels))
	for i, label := range f.Labels {
		labels[i] = "`" + label + "`"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s |", f.Name, f.Type, strings.Join(labels, ", "), programs, f.Help)
}

// Of returns the currently exposed metrics by name.
func Of(from prometheus.Gatherer) ([]Family, error) {
	gathered, err := from.Gather()
	if err != nil {
		return nil, err
	}
	var families []Family
	for _, g := range gathered {
		if strings.HasPrefix(g.GetName(), "go_") || strings.HasPrefix(g.GetName(), "process_") {
			continue
		}
		families = append(families, Family{Name: g.GetName(), Type: strings.ToLower(g.GetType().String()), Labels: labelsOf(g), Help: g.GetHelp()})
	}
	return families, nil
}

func labelsOf(g *dto.MetricFamily) []string {
	var labels []string
	for _, m := range g.GetMetric() {
		for _, pair := range m.GetLabel() {
			labels = append(labels, pair.GetName())
		}
	}
	slices.Sort(labels)
	return slices.Compact(labels)
}

var (
	row  = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\| ([^|]*) \\| ([^|]*) \\| ([^|]*) \\|$")
	word = regexp.MustCompile("`([a-z_]+)`")
)

// Documented reads the rows of a page for a program.
func Documented(page, program string) []Family {
	var families []Family
	for _, cells := range row.FindAllStringSubmatch(page, -1) {
		if !slices.Contains(strings.Split(cells[4], ", "), program) {
			continue
		}
		f := Family{Name: cells[1], Type: cells[2], Help: cells[5]}
		for _, label := range word.FindAllStringSubmatch(cells[3], -1) {
			f.Labels = append(f.Labels, label[1])
		}
		families = append(families, f)
	}
	return families
}

// Compare returns one line for each difference between the documented and the exposed metrics.
func Compare(exposed, documented []Family) []string {
	var wrong []string
	rows := func(families []Family) []string {
		var list []string
		for _, f := range families {
			list = append(list, f.Row("…"))
		}
		return list
	}
	is, should := rows(documented), rows(exposed)
	for _, r := range should {
		if !slices.Contains(is, r) {
			wrong = append(wrong, "exposed, and not documented so: "+r)
		}
	}
	for _, r := range is {
		if !slices.Contains(should, r) {
			wrong = append(wrong, "documented, and not exposed so: "+r)
		}
	}
	return wrong
}
