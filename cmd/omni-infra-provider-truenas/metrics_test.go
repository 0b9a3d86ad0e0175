package main

import (
	"io"
	"os"
	"testing"

	"virtrigaud-provider-truenas/cmd/internal/exposition"
	"virtrigaud-provider-truenas/omni/standin"
	"virtrigaud-provider-truenas/truenas/sim"
)

func TestTheMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../deploy/docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
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
	for _, wrong := range exposition.Compare(families, exposition.Documented(string(page), "omni")) {
		t.Error(wrong)
	}
}
