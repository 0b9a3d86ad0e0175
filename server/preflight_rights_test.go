package server

import (
	"slices"
	"testing"
)

func TestPreflightKnowsEveryFeature(t *testing.T) {
	for f := range rolesOf {
		if !slices.Contains(features, f) {
			t.Errorf("%q is not reported", f)
		}
	}
	if len(features) != len(rolesOf) {
		t.Errorf("%d features are reported, and %d have roles", len(features), len(rolesOf))
	}
}
