package truenastest_test

import (
	"testing"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// In a test file, these functions are separate tests.
func Example() {
	_ = func(t *testing.T) {
		c, nas := truenastest.New(t)
		if _, err := c.VMs.Create(t.Context(), truenas.VMCreate{Name: "web", MemoryMiB: 512}); err != nil {
			t.Fatal(err)
		}
		if got := len(nas.VMs()); got != 1 {
			t.Errorf("the NAS has %d VMs; want 1", got)
		}
	}
}

func ExampleRelease() {
	_ = func(t *testing.T) {
		_, nas := truenastest.New(t, truenastest.Release("26"))
		nas.Inject(sim.Fault{Method: "vm.create", Then: sim.DropReply})
	}
}
