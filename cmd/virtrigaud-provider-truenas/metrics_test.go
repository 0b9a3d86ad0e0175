package main

import (
	"io"
	"os"
	"testing"

	"virtrigaud-provider-truenas/cmd/internal/exposition"
)

// toured returns the metrics of a provider after all steps of the demo.
func toured(t *testing.T) []exposition.Family {
	t.Helper()
	nas, err := startSimulator(simulatorFlags{release: "25.10"})
	if err != nil {
		t.Fatal(err)
	}
	defer nas.close()
	tour := &tour{out: io.Discard, nas: nas}
	if err := tour.start(); err != nil {
		t.Fatal(err)
	}
	defer tour.end()
	if err := tour.take(t.Context(), demoSteps()); err != nil {
		t.Fatal(err)
	}
	families, err := exposition.Of(tour.watching.Metrics.Gather())
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func TestTheMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../deploy/docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range exposition.Compare(toured(t), exposition.Documented(string(page), "provider")) {
		t.Error(wrong)
	}
}
