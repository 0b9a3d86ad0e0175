package server

import (
	"slices"
	"testing"

	"virtrigaud-provider-truenas/truenas"
)

// Less space than one disk of the usual size is a warning; exactly that much is not.
func TestPreflightWarnsOfLittleSpace(t *testing.T) {
	for bytes, want := range map[int64]Verdict{spaceLow - 1: Partly, spaceLow: Works} {
		if f := spaceFinding(truenas.Dataset{ID: "tank", AvailableBytes: bytes}); f.Verdict != want || (f.Advice == "") != (want == Works) {
			t.Errorf("%d bytes: %+v", bytes, f)
		}
	}
}

func TestPreflightKnowsEveryFeature(t *testing.T) {
	t.Parallel()
	for f := range rolesOf {
		if !slices.Contains(features, f) {
			t.Errorf("%q is not reported", f)
		}
	}
	if len(features) != len(rolesOf) {
		t.Errorf("%d features are reported, and %d have roles", len(features), len(rolesOf))
	}
}
