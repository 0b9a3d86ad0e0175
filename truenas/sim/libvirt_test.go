package sim

import "testing"

// Rule 19: while libvirt is away, running VMs are reported as stopped from 26 on. A second source reports the processes.
func TestLibvirtAway(t *testing.T) {
	for _, tt := range []struct{ release, state string }{{"25.04.2", "ERROR"}, {"25.10", "ERROR"}, {"26", "STOPPED"}, {"27", "STOPPED"}} {
		t.Run(tt.release, func(t *testing.T) {
			n := newDirect(t, tt.release)
			for _, step := range []func() error{
				func() error { return n.AddDataset("tank/vms", nil) },
				func() error { return n.AddVolume("tank/vms/a", 1<<20, nil) },
				func() error { return n.AddVM("a", 1, 64, "tank/vms/a") },
			} {
				if err := step(); err != nil {
					t.Fatal(err)
				}
			}
			holders := func(dataset string, want int) {
				t.Helper()
				var list []processRow
				n.must(&list, "pool.dataset.processes", dataset)
				if len(list) != want {
					t.Errorf("%s is open in %v, want %d processes", dataset, list, want)
				}
			}
			holders("tank/vms", 0)
			n.must(nil, "vm.start", 1)
			holders("tank/vms", 1)
			n.SetLibvirt(true)
			if got := n.state(1); got != tt.state {
				t.Errorf("vm.query reports %s for a running VM, want %s", got, tt.state)
			}
			var status statusRow
			if n.must(&status, "vm.status", 1); status.State != tt.state {
				t.Errorf("vm.status reports %s, want %s", status.State, tt.state)
			}
			for _, method := range []string{"vm.start", "vm.poweroff", "vm.delete"} {
				n.fails(eFAULT, "Failed to connect to libvirt", method, 1)
			}
			holders("tank/vms", 1)
			holders("tank/vms/a", 1)
			n.SetLibvirt(false)
			n.must(nil, "vm.poweroff", 1)
			holders("tank/vms", 0)
		})
	}
}
