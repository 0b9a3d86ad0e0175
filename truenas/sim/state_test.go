package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
)

func TestSaveAndLoad(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.furnish()
			if _, err := n.WriteVolume("tank/vms/one/root", []byte("before"), 1<<20); err != nil {
				t.Fatal(err)
			}
			n.must(nil, n.snapshots("create"), object{"dataset": "tank/vms/one/root", "name": "b"})
			n.must(nil, n.snapshots("clone"), object{"snapshot": "tank/vms/one/root@b", "dataset_dst": "tank/clone"})
			if _, err := n.WriteVolume("tank/vms/one/root", []byte("after"), 1<<20); err != nil {
				t.Fatal(err)
			}
			var file bytes.Buffer
			if err := n.Save(&file); err != nil {
				t.Fatal(err)
			}
			m := newDirect(t, release)
			if err := m.Load(&file); err != nil {
				t.Fatal(err)
			}
			if a, b := n.State(), m.State(); !reflect.DeepEqual(a, b) {
				t.Errorf("after save and load:\n%s\nbefore:\n%s", mustJSON(t, b), mustJSON(t, a))
			}
			for _, name := range []string{"tank", "tank/vms/one/root", "tank/clone"} {
				if a, b := n.sizes(name), m.sizes(name); !reflect.DeepEqual(a, b) {
					t.Errorf("%s has %+v, had %+v", name, b, a)
				}
			}
			if got := m.state(1); got != running {
				t.Errorf("the machine is %s", got)
			}
			if id := m.newVM("next", nil); id != 2 {
				t.Errorf("the next machine has id %d", id)
			}
		})
	}
}

func TestLoadRefusesOtherFiles(t *testing.T) {
	n := newDirect(t, "25.10")
	before := n.State()
	for _, text := range []string{"", "{}", "[]", `{"State":{},"Layers":[{"Base":2}]}`, `{"State":{},"Layers":[{"Blocks":{"0":"AAAA"}}]}`} {
		if err := n.Load(bytes.NewReader([]byte(text))); err == nil {
			t.Errorf("%q was loaded", text)
		}
	}
	if !reflect.DeepEqual(before, n.State()) {
		t.Error("the state has changed")
	}
}

func TestStateIsDeterministic(t *testing.T) {
	make := func() State {
		n := newDirect(t, "25.10")
		n.furnish()
		return n.State()
	}
	if a, b := make(), make(); !reflect.DeepEqual(a, b) {
		t.Error("two runs differ")
	}
	n := newDirect(t, "25.10")
	before := n.State()
	n.furnish()
	if _, err := json.Marshal(n.State()); err != nil {
		t.Error(err)
	}
	n.must(nil, "vm.poweroff", 1)
	n.must(nil, "vm.delete", 1)
	n.must(nil, n.snapshots("release"), "tank/vms@a")
	n.must(nil, "pool.dataset.delete", "tank/vms", object{"recursive": true})
	if !reflect.DeepEqual(before, n.State()) {
		t.Error("after creation and deletion, the state differs")
	}
}

// Snapshots and clones take constant time, because they share every block.
func TestSnapshotsShareBlocks(t *testing.T) {
	n := newDirect(t, "25.10")
	n.volume("tank/v", 1<<30, nil)
	if _, err := n.WriteVolume("tank/v", bytes.Repeat([]byte("x"), 1<<20), 0); err != nil {
		t.Fatal(err)
	}
	n.must(nil, "pool.snapshot.create", object{"dataset": "tank/v", "name": "s"})
	n.must(nil, "pool.snapshot.clone", object{"snapshot": "tank/v@s", "dataset_dst": "tank/c"})
	taken := n.Sim.state.Snapshots["tank/v@s"].Data.base
	for _, name := range []string{"tank/v", "tank/c"} {
		if d := n.Sim.state.Datasets[name].Data; d.base != taken || len(d.own) != 0 {
			t.Errorf("%s does not share all of its blocks with the snapshot", name)
		}
	}
}

func crowd(b *testing.B) *Sim {
	s, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	for i := range 1000 {
		name := fmt.Sprintf("vm%d", i)
		if err := s.AddVolume("tank/"+name, 1<<30, nil); err != nil {
			b.Fatal(err)
		}
		if err := s.AddVM(name, 2, 512, "tank/"+name); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func benchmarkCall(b *testing.B, method, params string) {
	s := crowd(b)
	c := &call{sim: s, session: &session{sim: s, user: s.accounts[0]}, method: method}
	if err := json.Unmarshal([]byte(params), &c.params); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for b.Loop() {
		s.mu.Lock()
		result, err := s.methods[method].run(c)
		if err == nil {
			_, err = json.Marshal(result)
		}
		s.mu.Unlock()
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVMQuery(b *testing.B)    { benchmarkCall(b, "vm.query", `[]`) }
func BenchmarkVMQueryOne(b *testing.B) { benchmarkCall(b, "vm.query", `[[["name","=","vm500"]]]`) }
func BenchmarkDatasetQuery(b *testing.B) {
	benchmarkCall(b, "pool.dataset.query", `[[["id","^","tank/"]],{"extra":{"properties":["used","volsize"],"retrieve_children":false}}]`)
}
func BenchmarkDatasetGet(b *testing.B) {
	benchmarkCall(b, "pool.dataset.get_instance", `["tank/vm500"]`)
}
