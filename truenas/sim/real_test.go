package sim

import (
	"slices"
	"strings"
	"testing"
)

// Rule 1: from 25.10 on the value of an origin is in upper case, so a filter on it does not match the name of the snapshot. The
// raw and the parsed value are unchanged.
func TestOriginValueIsUpperCase(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.cloned()
			for field, want := range map[string]bool{"origin.value": n.release < v25_10, "origin.rawvalue": true, "origin.parsed": true} {
				var rows []object
				n.must(&rows, "pool.dataset.query", []any{[]any{field, "=", "tank/image@ready"}})
				if found := len(rows) == 1; found != want {
					t.Errorf("a filter on %s finds %d datasets", field, len(rows))
				}
			}
		})
	}
}

// cloned makes tank/image with the snapshot "ready", and tank/vms/one/root as its clone.
func (n *direct) cloned() {
	n.t.Helper()
	n.volume("tank/image", 1<<30, nil)
	n.must(nil, n.snapshots("create"), object{"dataset": "tank/image", "name": "ready", "properties": object{"test:kind": "image"}})
	n.must(nil, "pool.dataset.create", object{"name": "tank/vms/one", "create_ancestors": true})
	n.must(nil, n.snapshots("clone"), object{"snapshot": "tank/image@ready", "dataset_dst": "tank/vms/one/root"})
}

// names lists all datasets and snapshots, except pools.
func (n *direct) names() (datasets, snapshots []string) {
	s := n.State()
	for _, d := range s.Datasets {
		if strings.Contains(d.Name, "/") {
			datasets = append(datasets, d.Name)
		}
	}
	for _, snap := range s.Snapshots {
		snapshots = append(snapshots, snap.ID)
	}
	return datasets, snapshots
}

func (n *direct) wantNames(datasets, snapshots []string) {
	n.t.Helper()
	if d, s := n.names(); !slices.Equal(d, datasets) || !slices.Equal(s, snapshots) {
		n.t.Errorf("the NAS has datasets %q and snapshots %q, want %q and %q", d, s, datasets, snapshots)
	}
}

// Rule 2: on 26 and 27 a recursive deletion also destroys clones anywhere.
func TestRecursiveDeleteDestroysClones(t *testing.T) {
	for _, release := range []string{"26", "27"} {
		for name, erase := range map[string]func(*direct){
			"of the dataset":  func(n *direct) { n.must(nil, "pool.dataset.delete", "tank/image", object{"recursive": true}) },
			"of the snapshot": func(n *direct) { n.must(nil, "pool.snapshot.delete", "tank/image@ready", object{"recursive": true}) },
		} {
			t.Run(release+" "+name, func(t *testing.T) {
				n := newDirect(t, release)
				n.cloned()
				erase(n)
				if datasets, snapshots := n.names(); slices.Contains(datasets, "tank/vms/one/root") || len(snapshots) > 0 {
					t.Errorf("left: %q, %q", datasets, snapshots)
				}
			})
		}
	}
}

// Rule 2: it destroys what it can, keeps the rest, and returns true. An open volume remains, and so do its parents and
// dependents.
func TestRecursiveDeleteMayBePartial(t *testing.T) {
	for _, release := range []string{"26", "27"} {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.cloned()
			n.volume("tank/vms/one/data", 1<<30, nil)
			id := n.newVM("one", nil)
			n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/vms/one/root"})
			n.must(nil, "vm.start", id)
			n.must(nil, "pool.dataset.delete", "tank/image", object{"recursive": true})
			if n.release >= v27 {
				n.SetGuest("one", Guest{IgnoresPowerButton: true}) // The deletion waits for the shutdown.
			}
			n.must(nil, "pool.dataset.delete", "tank/vms/one", object{"recursive": true}) // This begins to stop the VM.
			n.wantNames([]string{"tank/image", "tank/vms", "tank/vms/one", "tank/vms/one/root"}, []string{"tank/image@ready"})
			if n.release >= v27 {
				n.must(nil, "vm.poweroff", id)
			}
			n.goesOff()
			n.must(nil, "pool.dataset.delete", "tank/image", object{"recursive": true})
			n.wantNames([]string{"tank/vms", "tank/vms/one"}, nil)
		})
	}
}

// Rule 2: it releases holds. A clone with snapshots remains.
func TestRecursiveDeleteReleasesHolds(t *testing.T) {
	n := newDirect(t, "26")
	n.cloned()
	n.must(nil, "pool.snapshot.hold", "tank/image@ready")
	n.must(nil, "pool.snapshot.create", object{"dataset": "tank/vms/one/root", "name": "mine"})
	n.must(nil, "pool.dataset.delete", "tank/image", object{"recursive": true})
	n.wantNames([]string{"tank/image", "tank/vms", "tank/vms/one", "tank/vms/one/root"}, []string{"tank/image@ready", "tank/vms/one/root@mine"})
	n.fails(eBUSY, "There are clones (tank/vms/one/root)", "pool.snapshot.delete", "tank/image@ready", object{"recursive": true})
	n.must(nil, "pool.snapshot.delete", "tank/vms/one/root@mine")
	n.must(nil, "pool.dataset.delete", "tank/image", object{"recursive": true})
	n.wantNames([]string{"tank/vms", "tank/vms/one"}, nil)
}

// Up to 25.10 a recursive deletion is refused if an outside clone depends on the tree. Otherwise it continues after an error, and
// reports the failures at the end.
func TestRecursiveDeleteByCommand(t *testing.T) {
	for _, release := range []string{"25.04.2", "25.10"} {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.cloned()
			n.fails(eFAULT, "volume has dependent clones\nuse '-R' to destroy the following datasets:\ntank/vms/one/root", "pool.dataset.delete", "tank/image", object{"recursive": true})
			n.fails(eFAULT, "volume has children\nuse '-r' to destroy the following datasets:\ntank/image@ready", "pool.dataset.delete", "tank/image")
			n.volume("tank/vms/one/data", 1<<30, nil)
			n.must(nil, n.snapshots("create"), object{"dataset": "tank/vms/one/root", "name": "auto"})
			n.must(nil, n.snapshots("hold"), "tank/vms/one/root@auto")
			n.fails(eFAULT, "cannot destroy snapshot tank/vms/one/root@auto: it's being held. Run 'zfs holds -r tank/vms/one/root@auto' to see holders.\ncannot destroy 'tank/vms/one': dataset already exists",
				"pool.dataset.delete", "tank/vms/one", object{"recursive": true})
			n.wantNames([]string{"tank/image", "tank/vms", "tank/vms/one", "tank/vms/one/root"}, []string{"tank/image@ready", "tank/vms/one/root@auto"})
		})
	}
}

// Rule 3: on 26 and 27 a snapshot has only the requested properties, and user properties only with the retention.
func TestSnapshotsComeWithoutProperties(t *testing.T) {
	for _, release := range []string{"26", "27"} {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.cloned()
			type shown struct {
				Properties map[string]struct{ RawValue string } `json:"properties"`
				User       map[string]string                    `json:"user_properties"`
			}
			by := []any{[]any{"id", "=", "tank/image@ready"}}
			var plain, asked []shown
			n.must(&plain, "pool.snapshot.query", by)
			if len(plain) != 1 || len(plain[0].Properties) != 0 || plain[0].User != nil {
				t.Errorf("a plain query returns %+v", plain)
			}
			n.must(&asked, "pool.snapshot.query", by, object{"extra": object{"properties": []any{"volsize", "clones"}, "retention": true}})
			if len(asked) != 1 || len(asked[0].Properties) != 2 || asked[0].Properties["clones"].RawValue != "tank/vms/one/root" || asked[0].User["test:kind"] != "image" {
				t.Errorf("a query for properties returns %+v", asked)
			}
			n.must(nil, "pool.snapshot.update", "tank/image@ready", object{"user_properties_update": []any{object{"key": "test:kind", "value": "other"}}})
			n.must(&asked, "pool.snapshot.query", by, object{"extra": object{"retention": true}})
			if asked[0].User["test:kind"] != "image" {
				t.Error("an update changed a snapshot")
			}
		})
	}
}

// Rule 3: on 26 and 27 conditions on paths form a union, and one missing path empties the result.
func TestSnapshotsByPath(t *testing.T) {
	for _, release := range []string{"26", "27"} {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.cloned()
			n.must(nil, "pool.snapshot.create", object{"dataset": "tank/vms", "name": "s", "recursive": true})
			for _, tt := range []struct {
				filters []any
				want    int
			}{
				{[]any{[]any{"dataset", "=", "tank/image"}}, 1},
				{[]any{[]any{"dataset", "in", []any{"tank/image", "tank/vms/one"}}}, 2},
				{[]any{[]any{"dataset", "in", []any{"tank/image", "tank/gone"}}}, 0},
				{[]any{[]any{"id", "in", []any{"tank/image@ready", "tank/vms@gone"}}}, 0},
				{[]any{[]any{"dataset", "=", "tank/image"}, []any{"id", "=", "tank/vms@s"}}, 2},
				{[]any{[]any{"dataset", "^", "tank/vms"}}, 3},
				{[]any{[]any{"pool", "=", "tank"}, []any{"snapshot_name", "=", "s"}}, 3},
				{[]any{[]any{"OR", []any{[]any{"dataset", "=", "tank/vms"}, []any{"dataset", "=", "tank/gone"}}}}, 1},
			} {
				var rows []object
				n.must(&rows, "pool.snapshot.query", tt.filters)
				if len(rows) != tt.want {
					t.Errorf("%v finds %d snapshots, want %d", tt.filters, len(rows), tt.want)
				}
			}
		})
	}
}

// Up to 25.10 a query for snapshots accepts an OR of two branches and no other.
func TestSnapshotQueryRefusesDisjunctions(t *testing.T) {
	for _, release := range []string{"25.04.2", "25.10"} {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.cloned()
			branch := []any{"dataset", "=", "tank/image"}
			n.fails(eINVAL, "Invalid filter.", n.snapshots("query"), []any{[]any{"OR", []any{branch}}})
			n.fails(eINVAL, "unhashable type: 'list'", n.snapshots("query"), []any{[]any{"OR", []any{branch, branch, branch}}})
			n.fails(eINVAL, "Invalid filter.", n.snapshots("query"), []any{[]any{"OR", []any{branch, branch, branch, branch}}})
			n.must(nil, n.snapshots("query"), []any{[]any{"OR", []any{branch, branch}}})
			n.must(nil, n.snapshots("query"), []any{[]any{"dataset", "in", []any{"tank/image"}}, []any{"snapshot_name", "^", "r"}})
		})
	}
}

// Each kind of object has its own error for a name in use.
func TestCreateExisting(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.cloned()
			n.fails(eINVAL, "pool_dataset_create.name: Path /mnt/tank/vms already exists", "pool.dataset.create", object{"name": "tank/vms"})
			n.fails(eFAULT, "cannot create 'tank/image': dataset already exists", "pool.dataset.create", object{"name": "tank/image", "type": "VOLUME", "volsize": 1 << 30})
			n.fails(eEXIST, "already exists", n.snapshots("create"), object{"dataset": "tank/image", "name": "ready"})
		})
	}
}

// user_properties of an update replace all existing ones.
func TestUpdateReplacesUserProperties(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.must(nil, "pool.dataset.create", object{"name": "tank/a", "user_properties": []any{object{"key": "a:b", "value": "1"}, object{"key": "c:d", "value": "2"}}})
			n.must(nil, "pool.dataset.update", "tank/a", object{"user_properties": []any{object{"key": "n:m", "value": "3"}}})
			if user := n.sizes("tank/a").User; len(user) != 1 || user["n:m"].Value != "3" {
				t.Errorf("after the update: %+v", user)
			}
			n.fails(eINVAL, "properties.a:b: Property does not exist and cannot be inherited", "pool.dataset.update", "tank/a", object{"user_properties_update": []any{object{"key": "a:b", "remove": true}}})
		})
	}
}

// Rule 13: an upload makes missing folders. An upload after the destruction of its dataset leaves a folder in its place, and the
// name cannot be used again.
func TestLateUploadBlocksDatasetName(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.must(nil, "pool.dataset.create", object{"name": "tank/staging"})
			n.must(nil, "pool.dataset.delete", "tank/staging")
			if err := n.put("/mnt/tank/staging/disk.raw", strings.NewReader("late"), object{}); err != nil {
				t.Fatal(err)
			}
			n.fails(eINVAL, "pool_dataset_create.name: Path /mnt/tank/staging already exists", "pool.dataset.create", object{"name": "tank/staging"})
			n.must(nil, "pool.dataset.create", object{"name": "tank/staging2"})
		})
	}
}
