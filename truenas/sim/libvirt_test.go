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

// The middleware protects only VMs that it takes for active. While libvirt is away, it therefore removes a device of a running VM,
// and does not stop a VM whose dataset is deleted.
func TestNothingIsProtectedWhileLibvirtIsAway(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.volume("tank/a", 1<<20, nil)
			id := n.newVM("one", nil)
			disk := n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/a"})
			n.must(nil, "vm.start", id)
			stops := func() []object {
				var jobs []object
				n.must(&jobs, "core.get_jobs", []any{[]any{"method", "=", "vm.stop"}})
				return jobs
			}
			n.SetLibvirt(true)
			if _, err := n.call("pool.dataset.delete", "tank/a"); (err == nil) != (n.release >= v26) || len(stops()) > 0 {
				t.Errorf("the deletion returns %v and starts the jobs %v", err, stops())
			}
			n.must(nil, "vm.device.delete", disk.ID)
			n.SetLibvirt(false)
			if got := n.state(id); got != running {
				t.Errorf("the VM is %s", got)
			}
		})
	}
}

// The middleware looks for files of one file system. Those below it are devices of their own.
func TestProcessesOfAFileSystem(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		n.must(nil, "pool.dataset.create", object{"name": "tank/isos/linux", "create_ancestors": true})
		if err := n.WriteFile("/mnt/tank/isos/linux/x.iso", []byte("x")); err != nil {
			t.Fatal(err)
		}
		id := n.newVM("one", nil)
		n.device(id, object{"dtype": "CDROM", "path": "/mnt/tank/isos/linux/x.iso"})
		n.must(nil, "vm.start", id)
		for dataset, want := range map[string]int{"tank/isos": 0, "tank/isos/linux": 1} {
			var list []processRow
			if n.must(&list, "pool.dataset.processes", dataset); len(list) != want {
				t.Errorf("%s: %s is open in %v, want %d processes", release, dataset, list, want)
			}
		}
	}
}
