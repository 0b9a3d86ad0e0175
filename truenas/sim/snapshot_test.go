package sim

import (
	"bytes"
	"strings"
	"testing"
)

func TestRecursiveSnapshotIsAllOrNothing(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.volume("tank/vm/a", 1<<30, nil)
			n.volume("tank/vm/b", 1<<30, nil)
			n.must(nil, n.snapshots("create"), object{"dataset": "tank/vm/b", "name": "s"})
			n.fails(eEXIST, "already exists", n.snapshots("create"), object{"dataset": "tank/vm", "name": "s", "recursive": true})
			if s := n.State(); len(s.Snapshots) != 1 {
				t.Errorf("snapshots after the refusal: %+v", s.Snapshots)
			}
			n.must(nil, n.snapshots("create"), object{"dataset": "tank/vm", "name": "t", "recursive": true})
			if s := n.State(); len(s.Snapshots) != 4 {
				t.Errorf("snapshots: %+v", s.Snapshots)
			}
			n.must(nil, n.snapshots("delete"), "tank/vm@t", object{"recursive": true})
			n.fails(eNOENT, "not found", n.snapshots("delete"), "tank/vm@t")
		})
	}
}

func TestSnapshotsKeepData(t *testing.T) {
	n := newDirect(t, "25.10")
	n.volume("tank/v", 1<<30, nil)
	read := func(name string) []byte {
		p := make([]byte, 5)
		if _, err := n.ReadVolume(name, p, 100_000); err != nil {
			t.Fatal(err)
		}
		return p
	}
	write := func(name, text string) {
		if _, err := n.WriteVolume(name, []byte(text), 100_000); err != nil {
			t.Fatal(err)
		}
	}
	write("tank/v", "first")
	n.must(nil, "pool.snapshot.create", object{"dataset": "tank/v", "name": "one"})
	write("tank/v", "later")
	n.must(nil, "pool.snapshot.clone", object{"snapshot": "tank/v@one", "dataset_dst": "tank/c"})
	write("tank/c", "mine!")
	for name, want := range map[string]string{"tank/v": "later", "tank/c": "mine!"} {
		if got := read(name); string(got) != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	n.must(nil, "pool.snapshot.rollback", "tank/v@one")
	if got := read("tank/v"); string(got) != "first" {
		t.Errorf("after the rollback the content is %q", got)
	}
}

func TestClone(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.volume("tank/image", 1<<30, object{"sparse": false, "user_properties": []any{object{"key": "test:source", "value": "x"}}})
			if _, err := n.WriteVolume("tank/image", []byte("golden"), 0); err != nil {
				t.Fatal(err)
			}
			n.must(nil, n.snapshots("create"), object{"dataset": "tank/image", "name": "ready"})
			n.must(nil, n.snapshots("clone"), object{"snapshot": "tank/image@ready", "dataset_dst": "tank/root", "dataset_properties": object{"test:owner": "me"}})
			d := n.sizes("tank/root")
			if d.User["test:owner"].Value != "me" || d.User["test:source"].Value != "" || d.Reserved.Parsed != 0 || d.Origin.Parsed != "tank/image@ready" {
				t.Errorf("the clone is %+v", d)
			}
			p := make([]byte, 6)
			if _, err := n.ReadVolume("tank/root", p, 0); err != nil || !bytes.Equal(p, []byte("golden")) {
				t.Errorf("the clone has %q, %v", p, err)
			}
			if n.release >= v26 {
				n.fails(eBUSY, "has the following clones: tank/root", n.snapshots("delete"), "tank/image@ready")
			} else {
				n.fails(eINVAL, "dependent clones: tank/root", n.snapshots("delete"), "tank/image@ready")
			}
			n.fails(eFAULT, "source and target pools differ", n.snapshots("clone"), object{"snapshot": "tank/image@ready", "dataset_dst": "fast/root"})
			missing := map[bool]int{true: eINVAL, false: eFAULT}[n.release >= v26]
			n.fails(missing, "not found", n.snapshots("clone"), object{"snapshot": "tank/image@no", "dataset_dst": "tank/x"})
			n.fails(eFAULT, "parent does not exist", n.snapshots("clone"), object{"snapshot": "tank/image@ready", "dataset_dst": "tank/x/y"})
			n.fails(eFAULT, "invalid property", n.snapshots("clone"), object{"snapshot": "tank/image@ready", "dataset_dst": "tank/x", "dataset_properties": object{"nonsense": "1"}})
			_, err := n.call(n.snapshots("clone"), object{"snapshot": "tank/image@ready", "dataset_dst": "tank/root"})
			if err == nil {
				t.Error("a clone replaced an existing dataset")
			}
		})
	}
}

// From 26 on a rollback with "recursive" destroys the newer snapshots that it can destroy before it fails, and one of a tree begins
// with the parents: plugins/zfs/snapshot_rollback_impl.py.
func TestRollbackMayBePartial(t *testing.T) {
	for _, release := range []string{"26", "27"} {
		n := newDirect(t, release)
		n.volume("tank/v", 1<<20, nil)
		for _, name := range []string{"a", "b", "c"} {
			n.must(nil, "pool.snapshot.create", object{"dataset": "tank/v", "name": name})
		}
		n.must(nil, "pool.snapshot.hold", "tank/v@b")
		if _, err := n.call("pool.snapshot.rollback", "tank/v@a", object{"recursive": true}); err == nil || !strings.Contains(err.Error(), "recursively:\n  tank/v@b") {
			t.Errorf("%s: the rollback returns %v", release, err)
		}
		n.wantNames([]string{"tank/v"}, []string{"tank/v@a", "tank/v@b"})

		n.must(nil, "pool.dataset.create", object{"name": "tank/t"})
		n.must(nil, "pool.snapshot.create", object{"dataset": "tank/t", "name": "s"})
		n.volume("tank/t/new", 1<<20, nil)
		if err := n.WriteFile("/mnt/tank/t/f", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := n.call("pool.snapshot.rollback", "tank/t@s", object{"recursive_rollback": true}); err == nil || !strings.Contains(err.Error(), "'tank/t/new@s' not found") {
			t.Errorf("%s: the rollback of a tree returns %v", release, err)
		}
		n.fails(eNOENT, "", "filesystem.stat", "/mnt/tank/t/f")
	}
}

func TestRollback(t *testing.T) {
	n := newDirect(t, "25.10")
	n.volume("tank/v", 1<<30, nil)
	before := n.State().Datasets
	n.must(nil, "pool.snapshot.create", object{"dataset": "tank/v", "name": "one"})
	if _, err := n.WriteVolume("tank/v", []byte("later"), 0); err != nil {
		t.Fatal(err)
	}
	n.must(nil, "pool.dataset.update", "tank/v", object{"volsize": 2 << 30})
	n.must(nil, "pool.snapshot.create", object{"dataset": "tank/v", "name": "two"})
	n.fails(eFAULT, "more recent snapshots", "pool.snapshot.rollback", "tank/v@one")
	n.must(nil, "pool.snapshot.clone", object{"snapshot": "tank/v@two", "dataset_dst": "tank/c"})
	n.fails(eFAULT, "clones of previous snapshots exist: tank/c", "pool.snapshot.rollback", "tank/v@one", object{"recursive": true})
	n.must(nil, "pool.dataset.delete", "tank/c")
	n.must(nil, "pool.snapshot.rollback", "tank/v@one", object{"recursive": true})
	after := n.State()
	if len(after.Snapshots) != 1 || len(after.Datasets) != len(before) {
		t.Fatalf("after the rollback: %+v", after)
	}
	for i := range before {
		if before[i].Hash != after.Datasets[i].Hash || before[i].Size != after.Datasets[i].Size {
			t.Errorf("%s is %+v, was %+v", before[i].Name, after.Datasets[i], before[i])
		}
	}
}

func TestHeldSnapshotsRemain(t *testing.T) {
	n := newDirect(t, "25.10")
	n.volume("tank/v", 1<<30, nil)
	n.must(nil, "pool.snapshot.create", object{"dataset": "tank/v", "name": "s"})
	n.must(nil, "pool.snapshot.hold", "tank/v@s")
	n.fails(eFAULT, "cannot destroy 'tank/v@s': dataset is busy", "pool.snapshot.delete", "tank/v@s")
	n.fails(eFAULT, "it's being held. Run 'zfs holds -r tank/v@s' to see holders.", "pool.dataset.delete", "tank/v", object{"recursive": true})
	n.must(nil, "pool.snapshot.release", "tank/v@s")
	n.must(nil, "pool.snapshot.delete", "tank/v@s")
}

func TestReplicationMakesAnIndependentCopy(t *testing.T) {
	n := newDirect(t, "25.10")
	n.volume("tank/v", 1<<30, object{"user_properties": []any{object{"key": "test:owner", "value": "me"}}})
	if _, err := n.WriteVolume("tank/v", []byte("content"), 0); err != nil {
		t.Fatal(err)
	}
	n.must(nil, "pool.snapshot.create", object{"dataset": "tank/v", "name": "s"})
	job := object{"direction": "PUSH", "transport": "LOCAL", "source_datasets": []any{"tank/v"}, "target_dataset": "fast/v",
		"recursive": false, "retention_policy": "NONE", "name_regex": "s", "readonly": "IGNORE"}
	n.must(nil, "replication.run_onetime", job)
	n.must(nil, "pool.dataset.delete", "tank/v", object{"recursive": true})
	d := n.sizes("fast/v")
	if d.User["test:owner"].Value != "me" || d.Origin.Parsed != "" || d.Live.Parsed != emptyVolume+blockSize {
		t.Errorf("the copy is %+v", d)
	}
	job["target_dataset"] = "fast/w"
	n.fails(eFAULT, "does not exist", "replication.run_onetime", job)
}

func TestDeferredSnapshotIsDestroyedWithLastClone(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.volume("tank/v", 1<<30, nil)
			n.must(nil, n.snapshots("create"), object{"dataset": "tank/v", "name": "one"})
			for _, clone := range []string{"tank/a", "tank/b"} {
				n.must(nil, n.snapshots("clone"), object{"snapshot": "tank/v@one", "dataset_dst": clone})
			}
			n.must(nil, n.snapshots("delete"), "tank/v@one", object{"defer": true})
			for i, clone := range []string{"tank/a", "tank/b"} {
				n.must(nil, "pool.dataset.delete", clone)
				if left := len(n.State().Snapshots); left != 1-i {
					t.Errorf("without %s there are %d snapshots", clone, left)
				}
			}
		})
	}
}
