package sim

import (
	"reflect"
	"testing"
)

// shownSizes are the sizes of a dataset that tests check.
type shownSizes struct {
	Used       struct{ Parsed int64 }
	Available  struct{ Parsed int64 }
	Live       struct{ Parsed int64 } `json:"usedbydataset"`
	Reserved   struct{ Parsed int64 } `json:"usedbyrefreservation"`
	BySnapshot struct{ Parsed int64 } `json:"usedbysnapshots"`
	Volsize    struct{ Parsed int64 }
	Origin     struct{ Parsed string }
	User       map[string]struct{ Value, Source string } `json:"user_properties"`
}

func (n *direct) sizes(name string) shownSizes {
	n.t.Helper()
	var d shownSizes
	n.must(&d, "pool.dataset.get_instance", name)
	return d
}

func (n *direct) volume(name string, size int64, more object) {
	n.t.Helper()
	p := object{"name": name, "type": "VOLUME", "volsize": size, "sparse": true, "create_ancestors": true}
	for k, v := range more {
		p[k] = v
	}
	n.must(nil, "pool.dataset.create", p)
}

func TestDatasetCreateRefusals(t *testing.T) {
	n := newDirect(t, "25.10")
	n.volume("tank/there", 1<<30, nil)
	volume := func(name string, size any) object { return object{"name": name, "type": "VOLUME", "volsize": size} }
	for _, tt := range []struct {
		name  string
		data  object
		errno int
		words string
	}{
		{"no pool in the name", object{"name": "lonely"}, eINVAL, "You need a full name, e.g. pool/newdataset"},
		{"a missing parent", object{"name": "tank/a/b"}, eINVAL, "Parent dataset (tank/a) does not exist."},
		{"a missing pool", object{"name": "nowhere/b", "create_ancestors": true}, eINVAL, "Please specify a pool which exists"},
		{"an invalid name", object{"name": "tank/a@b"}, eINVAL, "Please provide a valid dataset name according to ZFS standards"},
		{"no size", object{"name": "tank/v", "type": "VOLUME"}, eINVAL, "data.PoolDatasetCreateVolume.volsize: Field required"},
		{"a size between blocks", volume("tank/v", 1<<30+1), eINVAL, "multiple of volume block size"},
		{"more than 80 % of the available space", object{"name": "tank/v", "type": "VOLUME", "volsize": 60 << 30, "sparse": true}, eINVAL, "80%"},
		{"more than there is, by force, and thick", object{"name": "tank/v", "type": "VOLUME", "volsize": 64 << 30, "force_size": true}, eFAULT, "out of space"},
		{"a volume's parameter for a file system", object{"name": "tank/v", "type": "FILESYSTEM", "volsize": 1 << 30}, eINVAL, "data.PoolDatasetCreateFilesystem.volsize: Extra inputs are not permitted"},
		{"no bytes", volume("tank/v", 0), eFAULT, "volume size cannot be zero"},
		{"a user property in capitals", object{"name": "tank/v", "user_properties": []any{object{"key": "A:b", "value": "x"}}}, eFAULT, "invalid property 'A:b'"},
		{"a file system's parameter for a volume", object{"name": "tank/v", "type": "VOLUME", "volsize": 1 << 30, "atime": "ON"}, eINVAL, "Extra inputs are not permitted"},
		{"an unknown parameter", object{"name": "tank/v", "colour": "red"}, eINVAL, "Extra inputs are not permitted"},
		{"a user property without a colon", object{"name": "tank/v", "user_properties": []any{object{"key": "owner", "value": "x"}}}, eINVAL, "String should match pattern"},
		{"below a volume", object{"name": "tank/there/v"}, eINVAL, "parent may not be a ZFS volume"},
		{"what exists", volume("tank/there", 1<<30), eFAULT, "dataset already exists"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := n.State()
			n.t = t
			n.fails(tt.errno, tt.words, "pool.dataset.create", tt.data)
			if !reflect.DeepEqual(before, n.State()) {
				t.Error("the refused call changed the state")
			}
		})
	}
}

func TestForceSizeLetsASparseVolumeBeLargerThanItsPool(t *testing.T) {
	n := newDirect(t, "25.10")
	n.volume("tank/v", 1<<40, object{"force_size": true})
}

func TestUserProperties(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			owner := object{"key": "test:owner", "value": "me"}
			n.must(nil, "pool.dataset.create", object{"name": "tank/a", "user_properties": []any{owner}})
			n.volume("tank/a/v", 1<<30, nil)
			source := "INHERITED"
			if n.release >= v25_10 {
				source = "LOCAL" // Rule 5: inherited ones have this source too.
			}
			if p := n.sizes("tank/a/v").User["test:owner"]; p.Value != "me" || p.Source != source {
				t.Errorf("the child has %+v", p)
			}
			n.must(nil, "pool.dataset.update", "tank/a/v", object{"user_properties_update": []any{object{"key": "test:owner", "value": "you"}}})
			if p := n.sizes("tank/a/v").User["test:owner"]; p.Value != "you" || p.Source != "LOCAL" {
				t.Errorf("after an update it has %+v", p)
			}
			n.must(nil, "pool.dataset.update", "tank/a/v", object{"user_properties_update": []any{object{"key": "test:owner", "remove": true}}})
			if p := n.sizes("tank/a/v").User["test:owner"]; p.Value != "me" {
				t.Errorf("after the removal it has %+v", p)
			}
			var rows []shownSizes
			n.must(&rows, "pool.dataset.query", []any{[]any{"id", "=", "tank/a"}})
			if len(rows) != 1 || rows[0].User["test:owner"].Value != "me" {
				t.Errorf("a list shows %+v", rows)
			}
			var bare []shownSizes
			n.must(&bare, "pool.dataset.query", []any{[]any{"id", "=", "tank/a"}}, object{"extra": object{"retrieve_user_props": false}})
			if len(bare) != 1 || len(bare[0].User) != 0 {
				t.Errorf("a list without user properties has %+v", bare)
			}
		})
	}
}

func TestVolumesOnlyGrow(t *testing.T) {
	n := newDirect(t, "25.10")
	n.volume("tank/v", 2<<30, object{"sparse": false})
	n.fails(eINVAL, "cannot shrink", "pool.dataset.update", "tank/v", object{"volsize": 1 << 30})
	n.fails(eINVAL, "multiple", "pool.dataset.update", "tank/v", object{"volsize": 2<<30 + 512})
	n.must(nil, "pool.dataset.update", "tank/v", object{"volsize": 3 << 30})
	if d := n.sizes("tank/v"); d.Volsize.Parsed != 3<<30 || d.Reserved.Parsed < 3<<30-1<<20 {
		t.Errorf("after growing: %+v", d)
	}
}

func TestSpace(t *testing.T) {
	n := newDirect(t, "25.10")
	empty := n.sizes("tank").Available.Parsed
	n.volume("tank/sparse", 8<<30, nil)
	if used := empty - n.sizes("tank").Available.Parsed; used > 1<<20 {
		t.Errorf("a sparse volume uses %d bytes", used)
	}
	n.volume("tank/thick", 8<<30, object{"sparse": false})
	if used := empty - n.sizes("tank").Available.Parsed; used < 8<<30 {
		t.Errorf("a thick volume of 8 GiB uses %d bytes", used)
	}
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i)
	}
	if _, err := n.WriteVolume("tank/sparse", data, 0); err != nil {
		t.Fatal(err)
	}
	n.must(nil, "pool.snapshot.create", object{"dataset": "tank/sparse", "name": "s"})
	n.must(nil, "pool.snapshot.clone", object{"snapshot": "tank/sparse@s", "dataset_dst": "tank/clone"})
	if live := n.sizes("tank/clone").Live.Parsed; live > emptyVolume {
		t.Errorf("a fresh clone uses %d bytes", live)
	}
	if _, err := n.WriteVolume("tank/clone", []byte("mine"), 0); err != nil {
		t.Fatal(err)
	}
	if live := n.sizes("tank/clone").Live.Parsed; live != emptyVolume+blockSize {
		t.Errorf("a clone with one block of its own uses %d bytes", live)
	}
	if held := n.sizes("tank/sparse").BySnapshot.Parsed; held != 0 {
		t.Errorf("a snapshot of unchanged data uses %d bytes", held)
	}
	if _, err := n.WriteVolume("tank/sparse", data[1:], 0); err != nil {
		t.Fatal(err)
	}
	if held := n.sizes("tank/sparse").BySnapshot.Parsed; held != 1<<20 {
		t.Errorf("a snapshot of 1 MiB of overwritten data uses %d bytes", held)
	}
	var pool struct{ Size, Allocated, Free int64 }
	n.must(&pool, "pool.get_instance", 1)
	if pool.Free <= n.sizes("tank").Available.Parsed || pool.Allocated > 4<<20 {
		t.Errorf("the pool has %+v, its root dataset has %d available", pool, n.sizes("tank").Available.Parsed)
	}
}

func TestDatasetDelete(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.volume("tank/a/v", 1<<30, nil)
			n.fails(eNOENT, "does not exist", "pool.dataset.delete", "tank/b")
			n.fails(eNOTEMPTY, "has children", "pool.dataset.delete", "tank/a")
			n.must(nil, n.snapshots("create"), object{"dataset": "tank/a/v", "name": "s"})
			n.must(nil, n.snapshots("clone"), object{"snapshot": "tank/a/v@s", "dataset_dst": "tank/clone"})
			if n.release < v26 {
				n.fails(eFAULT, "dependent clones\nuse '-R' to destroy the following datasets:\ntank/clone", "pool.dataset.delete", "tank/a", object{"recursive": true, "force": true})
			}
			n.must(nil, "pool.dataset.promote", "tank/clone")
			if origin := n.sizes("tank/a/v").Origin.Parsed; origin != "tank/clone@s" {
				t.Errorf("after the promotion the old origin's origin is %q", origin)
			}
			n.must(nil, "pool.dataset.delete", "tank/a", object{"recursive": true})
			n.must(nil, "pool.dataset.delete", "tank/clone", object{"recursive": true})
			if s := n.State(); len(s.Datasets) != 2 || len(s.Snapshots) != 0 {
				t.Errorf("left over: %+v", s)
			}
		})
	}
}
