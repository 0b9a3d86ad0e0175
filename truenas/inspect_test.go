package truenas_test

import (
	"errors"
	"testing"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// Inspect returns the holds of a snapshot, and an error for a missing one.
func TestInspect(t *testing.T) {
	for _, release := range []string{"25.04.2", "25.10", "26", "27"} {
		t.Run(release, func(t *testing.T) {
			client, nas := truenastest.New(t, truenastest.Release(release))
			if err := errors.Join(nas.AddVolume("tank/a", 1<<30, nil), nas.AddSnapshot("tank/a@s"), nas.SetHeld("tank/a@s", true)); err != nil {
				t.Fatal(err)
			}
			got, err := client.Snapshots.Inspect(t.Context(), "tank/a@s")
			if err != nil || got.ID != "tank/a@s" || len(got.Holds) != 1 {
				t.Errorf("got %+v, %v", got, err)
			}
			if got, err := client.Snapshots.Inspect(t.Context(), "tank/a@none"); !errors.Is(err, truenas.ErrNotFound) {
				t.Errorf("a missing snapshot: %+v, %v", got, err)
			}
		})
	}
}
