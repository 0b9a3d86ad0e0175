package omni

import (
	"slices"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/truenas/sim"
)

func TestLeftovers(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		_, stop := w.start()
		for _, id := range []string{"gone-1", "gone-2", "stays"} {
			w.request(id, class)
			w.provisioned(id)
		}
		stop()
		w.forget("gone-1", true)
		w.forget("gone-2", true)
		if err := nas.AddVM("by_hand", 1, 512); err != nil {
			t.Fatal(err)
		}
		found := Leftovers{ID: providerID, Origin: w.cfg.Origin, Backends: w.cfg.Providers, State: w.omni}
		list, err := found.Find(t.Context())
		if err != nil || !slices.Equal(names(list), []string{"gone-1", "gone-2"}) {
			t.Fatalf("%v, %v; want gone-1 and gone-2", list, err)
		}
		if _, err := found.Remove(t.Context(), []string{"gone-1", "stays"}); err == nil || !strings.Contains(err.Error(), `"stays" is not a leftover`) {
			t.Errorf("%v; a machine with a request must not be removed", err)
		}
		if n := len(machines(nas)); n != 4 {
			t.Fatalf("%d VMs; want 4, because a refused call changes nothing", n)
		}
		removed, err := found.Remove(t.Context(), []string{"gone-1"})
		if err != nil || !slices.Equal(names(removed), []string{"gone-1"}) {
			t.Errorf("removed %v, %v", removed, err)
		}
		// Without Omni every VM of this provider counts, but VMs of other providers still do not.
		found.State = nil
		if list, err := found.Find(t.Context()); err != nil || !slices.Equal(names(list), []string{"gone-2", "stays"}) {
			t.Errorf("%v, %v; want gone-2 and stays", list, err)
		}
		found.Origin = "elsewhere.example"
		if list, err := found.Find(t.Context()); err != nil || len(list) > 0 {
			t.Errorf("%v, %v; VMs of another Omni are not leftovers of this one", list, err)
		}
	})
}
