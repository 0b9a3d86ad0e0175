package server_test

import (
	"testing"

	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// TestDroppedUserProperties: for a build that ignores user properties at create, the client sets them by an update.
func TestDroppedUserProperties(t *testing.T) {
	t.Parallel()
	nas, address := truenastest.Serve(t, truenastest.Release("26"), func(c *sim.Config) { c.DropsUserProperties = true })
	client, stop := startProvider(t, address)
	t.Cleanup(stop)
	withWeb1(t, client, nas)
	if err := createWeb1(t.Context(), client); err != nil {
		t.Errorf("asked again: %v", err)
	}
	for _, d := range nas.State().Datasets {
		if d.Name == "tank/virtrigaud/vms/web_1" && (d.User["virtrigaud:provider"] != "test" || d.User["virtrigaud:machine"] != idOfWeb1) {
			t.Errorf("the VM's dataset has the properties %v", d.User)
		}
	}
	if err := deleteVM(idOfWeb1)(t.Context(), client); err != nil {
		t.Error(err)
	}
	if left := below(nas.State(), "tank/virtrigaud/vms/"); len(left) > 0 {
		t.Errorf("leftovers: %v", left)
	}
}
