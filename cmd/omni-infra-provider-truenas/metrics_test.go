package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"testing"

	"go.yaml.in/yaml/v3"

	"virtrigaud-provider-truenas/cmd/internal/exposition"
	"virtrigaud-provider-truenas/omni/standin"
	"virtrigaud-provider-truenas/truenas/sim"
)

// toured returns the metrics of the adapter and its inner provider after all steps of the demo.
func toured(t *testing.T) []exposition.Family {
	t.Helper()
	tour := &tour{out: io.Discard, factory: &standin.Factory{}}
	defer tour.close()
	if err := tour.start(t.Context(), sim.Config{}); err != nil {
		t.Fatal(err)
	}
	if err := tour.take(t.Context(), demoSteps()); err != nil {
		t.Fatal(err)
	}
	families, err := exposition.Of(tour.watching.Metrics.Gather())
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func TestTheMetricsAreDocumentedAndUsed(t *testing.T) {
	page, err := os.ReadFile("../../deploy/docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	exposed := toured(t)
	for _, wrong := range exposition.Compare(exposed, exposition.Documented(string(page), "omni")) {
		t.Error(wrong)
	}
	for name, queries := range map[string][]string{"the dashboard": dashboardQueries(t), "the alerts": alertQueries(t)} {
		if len(queries) < 15 {
			t.Errorf("%s: found only %d expressions", name, len(queries))
		}
		for _, expr := range queries {
			for _, wrong := range exposition.Query(exposed, expr) {
				t.Errorf("%s: %s", name, wrong)
			}
		}
	}
}

// dashboardQueries returns the expressions of the panels, with Grafana's variables.
func dashboardQueries(t *testing.T) []string {
	t.Helper()
	file, err := os.ReadFile("../../deploy/dashboards/truenas-provider.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		UID    string
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(file, &dashboard); err != nil {
		t.Fatal(err)
	}
	var queries []string
	seen := map[int]bool{}
	for _, p := range dashboard.Panels {
		if p.Title == "" || seen[p.ID] {
			t.Errorf("panel %d has no title, or a duplicate id", p.ID)
		}
		seen[p.ID] = true
		for _, target := range p.Targets {
			queries = append(queries, target.Expr)
		}
	}
	return queries
}

func alertQueries(t *testing.T) []string {
	t.Helper()
	file, err := os.ReadFile("../../deploy/alerts/truenas-provider.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(file))
	decoder.KnownFields(true)
	if err := decoder.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	var queries []string
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%s: a rule lacks its name, severity, summary or description: %+v", group.Name, rule)
			}
			queries = append(queries, rule.Expr)
		}
	}
	return queries
}
