package sim

import (
	"slices"
	"testing"
	"time"
)

// Rule 4: betas of 26 accept user properties of a new dataset and drop them.
func TestDroppedUserProperties(t *testing.T) {
	n := newDirect(t, "26")
	n.cfg.DropsUserProperties = true
	n.must(nil, "pool.dataset.create", object{"name": "tank/a", "user_properties": []any{object{"key": "a:b", "value": "1"}}})
	if user := n.sizes("tank/a").User; len(user) != 0 {
		t.Errorf("the dataset has %+v", user)
	}
	n.must(nil, "pool.dataset.update", "tank/a", object{"user_properties_update": []any{object{"key": "a:b", "value": "1"}}})
	if user := n.sizes("tank/a").User; user["a:b"].Value != "1" {
		t.Errorf("after an update the dataset has %+v", user)
	}
}

// Rule 6: the deletion of a file system begins to stop the VMs that use objects in it, and does not wait. An open volume remains,
// but the VMs go off nevertheless. From 27 on the deletion waits for the VMs and then destroys the volume.
func TestDeleteStopsMachines(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.volume("tank/vms/one/root", 1<<30, nil)
			id := n.newVM("one", nil)
			n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/vms/one/root"})
			n.must(nil, "vm.start", id)
			_, err := n.call("pool.dataset.delete", "tank/vms/one", object{"recursive": true})
			if late := n.release >= v26; (err == nil) != late {
				t.Errorf("the deletion returns %v", err)
			}
			if datasets, _ := n.names(); slices.Contains(datasets, "tank/vms/one/root") == (n.release >= v27) {
				t.Errorf("the NAS has datasets %q", datasets)
			}
			n.goesOff()
		})
	}
}

// The deletion of a volume does the same. ZFS refuses it up to 25.10, and the VM goes off nevertheless, as recorded.
func TestDeleteOfVolumeStopsMachine(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.volume("tank/v", 1<<30, nil)
			id := n.newVM("one", nil)
			n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/v"})
			n.must(nil, "vm.start", id)
			if n.release <= v25_10 {
				n.fails(eBUSY, "cannot destroy 'tank/v': dataset is busy", "pool.dataset.delete", "tank/v")
			} else {
				n.must(nil, "pool.dataset.delete", "tank/v")
			}
			if datasets, _ := n.names(); slices.Contains(datasets, "tank/v") == (n.release >= v27) {
				t.Errorf("the NAS has datasets %q", datasets)
			}
			n.goesOff()
		})
	}
}

// The records of a VM's devices count. A disk that was added to a running VM stops it, although the VM does not have it open yet.
func TestDeleteStopsMachineWithNewDevice(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.volume("tank/a", 1<<30, nil)
			n.volume("tank/ab", 1<<30, nil)
			id := n.newVM("one", nil)
			n.must(nil, "vm.start", id)
			n.must(nil, "pool.dataset.delete", "tank/ab")
			n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/a"})
			if got := n.state(id); got != running {
				t.Fatalf("the VM is %s", got)
			}
			n.must(nil, "pool.dataset.delete", "tank/a")
			n.goesOff()
		})
	}
}

// goesOff waits until the only VM is off.
func (n *direct) goesOff() {
	n.t.Helper()
	for range 5000 {
		if n.VMs()[0].State == "STOPPED" {
			return
		}
		if n.clock.Waiting() > 0 {
			n.clock.Step(time.Minute)
		}
		time.Sleep(time.Millisecond)
	}
	n.t.Error("the VM is still running")
}

// Rule 7: a dataset's row contains the entire tree below it, unless the query excludes children.
func TestRowsHaveTheTreeBelowThem(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		n.volume("tank/a/b/v", 1<<30, nil)
		var rows []struct{ Children []struct{ Children []any } }
		pool := []any{[]any{"id", "=", "tank"}}
		n.must(&rows, "pool.dataset.query", pool)
		if len(rows) != 1 || len(rows[0].Children) != 1 || len(rows[0].Children[0].Children) != 1 {
			t.Errorf("%s: the row is %+v", release, rows)
		}
		var bare []struct{ Children []any }
		n.must(&bare, "pool.dataset.query", pool, object{"extra": object{"retrieve_children": false}})
		if len(bare) != 1 || len(bare[0].Children) != 0 {
			t.Errorf("%s: without children the row is %+v", release, bare)
		}
	}
}

// Rule 8: up to 25.10 a query for snapshots reads all of the NAS, unless it selects one by its id.
func TestSnapshotsReadByQueries(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		n.cloned()
		n.must(nil, n.snapshots("create"), object{"dataset": "tank/vms", "name": "auto", "recursive": true})
		names := object{"select": []string{"name"}}
		for _, tt := range []struct {
			filters   []any
			options   object
			old, late int
		}{
			{[]any{[]any{"id", "=", "tank/image@ready"}}, object{}, 1, 1},
			{[]any{[]any{"dataset", "=", "tank/image"}}, object{}, 4, 1},
			{[]any{[]any{"dataset", "=", "tank/image"}}, names, 1, 1},
			{[]any{[]any{"dataset", "in", []string{"tank/image"}}}, names, 1, 1},
			{[]any{[]any{"snapshot_name", "=", "ready"}}, object{}, 4, 4},
			{[]any{[]any{"snapshot_name", "=", "ready"}}, names, 4, 4},
		} {
			want := tt.old
			if n.release >= v26 {
				want = tt.late
			}
			n.ResetCalls()
			n.must(nil, n.snapshots("query"), tt.filters, tt.options)
			if got := n.SnapshotsRead(); got != want {
				t.Errorf("%s: %v %v reads %d snapshots, want %d", release, tt.filters, tt.options, got, want)
			}
		}
	}
}

// TestDatasetsWithoutChildren checks that a query without children reads only the root datasets, unless its filter leads below
// them. 25.04.2 follows only a single filter that names datasets.
func TestDatasetsWithoutChildren(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		n.volume("tank/a/b/v", 1<<30, nil)
		below := func(old, late int) int {
			if n.release >= v25_10 {
				return late
			}
			return old
		}
		for _, tt := range []struct {
			filters []any
			want    int
		}{
			{[]any{[]any{"id", "=", "tank/a"}}, 1},
			{[]any{[]any{"id", "in", []string{"tank", "tank/a/b"}}}, 2},
			{[]any{[]any{"id", "^", "tank/"}}, below(0, 3)},
			{[]any{[]any{"OR", []any{[]any{"id", "=", "tank"}, []any{"id", "=", "tank/a"}}}}, below(1, 2)},
		} {
			var rows []struct{ Children []any }
			n.ResetCalls()
			n.must(&rows, "pool.dataset.query", tt.filters, object{"extra": object{"retrieve_children": false}})
			if len(rows) != tt.want || n.DatasetsSent() != tt.want {
				t.Errorf("%s: %v returns %d rows and counts %d, want %d", release, tt.filters, len(rows), n.DatasetsSent(), tt.want)
			}
		}
		n.ResetCalls()
		n.must(nil, "pool.dataset.query", []any{[]any{"id", "=", "tank"}})
		if got := n.DatasetsSent(); got != 4 {
			t.Errorf("%s: the pool's row with the tree below it counts %d, want 4", release, got)
		}
	}
}

// Rules 9 and 12: from 26 on the deletion of a snapshot with clones is EBUSY, like that of a held one.
func TestHeldAndCloned(t *testing.T) {
	for _, release := range []string{"26", "27"} {
		n := newDirect(t, release)
		n.cloned()
		n.fails(eBUSY, "has the following clones: tank/vms/one/root", "pool.snapshot.delete", "tank/image@ready")
		if err := n.SetHeld("tank/image@ready", true); err != nil {
			t.Fatal(err)
		}
		n.fails(eBUSY, "has the following holds: truenas", "pool.snapshot.delete", "tank/image@ready", object{"defer": true})
	}
}

// Rule 10: a periodic task with recursive snapshots of the pool also makes them of our datasets.
func TestPeriodicSnapshotsOfThePool(t *testing.T) {
	n := newDirect(t, "25.10")
	n.cloned()
	n.must(nil, "pool.snapshot.create", object{"dataset": "tank", "naming_schema": "auto-%Y-%m-%d_%H-%M", "recursive": true})
	if _, snapshots := n.names(); !slices.Contains(snapshots, "tank/vms/one/root@auto-2026-01-02_03-04") {
		t.Errorf("snapshots: %q", snapshots)
	}
}
