package server_test

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// TestSuccessIsComplete refuses each call of the usual operations once, with an error of which the client knows nothing. An
// operation that answers success nevertheless has done all of its work.
func TestSuccessIsComplete(t *testing.T) {
	usual := []string{"Create", "Power on", "Power off", "Delete", "Snapshot", "Revert", "Delete a snapshot", "Clone", "Delete a clone", "Reconfigure", "Boot override", "Power on that boots the network once", "Insert other media"}
	for _, op := range append(vmOperations(), mediaOperations(t)...) {
		if !slices.Contains(usual, op.name) {
			continue
		}
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			s := setStage(t, "25.10", op)
			nas, address := truenastest.Serve(t, truenastest.Release(s.release))
			p := &point{swept: s, nas: nas, address: address}
			for n, method := range s.methods {
				must(t, nas.Load(bytes.NewReader(s.saved)))
				nas.Inject(sim.Fault{Nth: n + 1, Then: sim.Refuse})
				err := p.once(t)
				nas.ClearFaults()
				if got := settled(nas.State()); err == nil && !reflect.DeepEqual(got, s.want) {
					t.Errorf("success although call %d of %d, %s, was refused:\n%s", n+1, len(s.methods), method, changes(t, s.want, got))
				}
			}
		})
	}
}
