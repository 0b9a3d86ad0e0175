package ownership

import (
	"slices"
	"testing"

	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// record is the record of a VM with that mark and disks.
func record(m spec.Mark, volumes ...string) truenas.VM {
	vm := truenas.VM{ID: 1, UUID: m.ID(), Name: m.OnNAS(), Description: m.Describe()}
	for _, volume := range volumes {
		vm.Devices = append(vm.Devices, truenas.Device{Attributes: truenas.Disk(spec.ZvolPath(volume))})
	}
	return vm
}

// TestMarksOfRecords: a VM is this provider's by its record alone only if the description and the places of the disks agree. For
// the rest the VM's dataset is read.
func TestMarksOfRecords(t *testing.T) {
	edited := func(vm truenas.VM) truenas.VM { vm.Description = "my own words"; return vm }
	other := web
	other.Provider = "q"
	for _, tt := range []struct {
		name            string
		vm              truenas.VM
		ours, uncertain bool
	}{
		{"its disk in its dataset", record(web, home+"/root"), true, false},
		{"its disk on another pool", record(web, place+"/data"), true, false},
		{"without disks", record(web), true, false},
		{"its disk elsewhere", record(web, "tank/old/root"), false, true},
		{"its disk in another VM's dataset", record(web, home+"2/root"), false, true},
		{"another provider's", record(other, home+"/root"), false, false},
		{"another provider's, elsewhere", record(other, "tank/old/root"), false, false},
		{"an edited description, and its disk", edited(record(web, home+"/root")), false, true},
		{"an edited description, and an import", edited(record(web, "tank/virtrigaud/imports/a/disk")), false, true},
		{"an edited description, without disks", edited(record(web)), false, true},
		{"a VM of another client", edited(record(web, "tank/old/root")), false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newMarks()
			if _, ours := k.Of(tt.vm); ours != tt.ours || k.Ours(tt.vm) != tt.ours {
				t.Errorf("ours: %t", ours)
			}
			if got := k.isOwnerUncertain(tt.vm); got != tt.uncertain {
				t.Errorf("uncertain: %t", got)
			}
			if got := k.OnNAS(tt.vm); got != web.OnNAS() {
				t.Errorf("on the NAS it is %s", got)
			}
			if got := k.Name(tt.vm); tt.ours && got != web.Name {
				t.Errorf("its name is %s, want %s", got, web.Name)
			}
		})
	}
}

// TestMarksOfDatasets: a reading of the VMs' datasets resolves the uncertainty, a later one revokes that, and another provider's mark proves nothing.
func TestMarksOfDatasets(t *testing.T) {
	vm := record(web, "tank/old/root")
	vm.Description = "my own words"
	k := newMarks()
	ours := func() bool {
		m, ok := k.Of(vm)
		return ok && m.Name == web.Name
	}
	for _, step := range []struct {
		name string
		do   func()
		want bool
	}{
		{"nothing was read", func() {}, false},
		{"the dataset exists", func() { k.Replace(web.ID(), web, true) }, true},
		{"the dataset is gone", func() { k.Replace(web.ID(), spec.Mark{}, false) }, false},
		{"the VM was just made", func() { k.Note(web) }, true},
		{"a reading of all datasets does not have it", func() { k.Learn(nil) }, false},
		{"a reading of all datasets has it", func() {
			k.Learn([]truenas.Dataset{{ID: home, Type: truenas.Filesystem, LocalUserProperties: web.Properties(home)}})
		}, true},
	} {
		if step.do(); ours() != step.want {
			t.Errorf("%s: ours is %t", step.name, !step.want)
		}
	}
	if got := k.Name(vm); got != web.Name {
		t.Errorf("its name is %s", got)
	}
	tagged := web
	tagged.Tags = []string{"a"}
	if m, ok := k.Of(record(tagged, "tank/old/root")); !ok || !slices.Equal(m.Tags, tagged.Tags) {
		t.Errorf("the tags of the description are lost: %+v, %t", m, ok)
	}
}

// TestInDataset: a dataset proves a VM only by its own name and type, in this installation's tree.
func TestInDataset(t *testing.T) {
	for _, tt := range []struct {
		name    string
		d       truenas.Dataset
		foreign bool
		want    bool
	}{
		{"the VM's", truenas.Dataset{ID: home, Type: truenas.Filesystem, LocalUserProperties: web.Properties(home)}, false, true},
		{"on another pool", truenas.Dataset{ID: place, Type: truenas.Filesystem, LocalUserProperties: web.Properties(place)}, false, true},
		{"a volume below it", truenas.Dataset{ID: home + "/root", Type: truenas.Volume, LocalUserProperties: web.Properties(home)}, false, false},
		{"a volume of its name", truenas.Dataset{ID: home, Type: truenas.Volume, LocalUserProperties: web.Properties(home)}, false, false},
		{"another provider's", truenas.Dataset{ID: home, Type: truenas.Filesystem, LocalUserProperties: with(web.Properties(home), spec.PropProvider, "q")}, false, false},
		{"in another installation's tree", truenas.Dataset{ID: home, Type: truenas.Filesystem, LocalUserProperties: web.Properties(home)}, true, false},
	} {
		k := newMarks()
		if tt.foreign {
			k.claims.set("tank/virtrigaud", rootState{foreign: ErrForeign})
		}
		if m, ok := k.InDataset(tt.d); ok != tt.want || ok && m.ID() != web.ID() {
			t.Errorf("%s: got %+v, %t", tt.name, m, ok)
		}
	}
}

// TestInherits: TrueNAS reports inherited properties as if they were set on the dataset itself.
func TestInherits(t *testing.T) {
	props := web.Properties(home)
	above := truenas.Dataset{ID: home, UserProperties: props}
	for _, tt := range []struct {
		name  string
		id    string
		props map[string]string
		want  bool
	}{
		{"below, with the same properties", home + "/a", props, true},
		{"the dataset itself", home, props, false},
		{"a sibling whose name begins alike", home + "a", props, false},
		{"another provider", home + "/a", with(props, spec.PropProvider, "q"), false},
		{"another name", home + "/a", with(props, spec.PropName, "web-2"), false},
		{"another VM", home + "/a", with(props, spec.PropVM, "other"), false},
		{"its own record of the dataset", home + "/a", with(props, spec.PropDataset, home+"/a"), false},
	} {
		if got := Inherits(truenas.Dataset{ID: tt.id, LocalUserProperties: tt.props}, []truenas.Dataset{above}); got != tt.want {
			t.Errorf("%s: got %t", tt.name, got)
		}
	}
}

// TestDatasetsOfAVM: a dataset in use or with a record of its own name is certain; of several others none is.
func TestDatasetsOfAVM(t *testing.T) {
	old := with(web.Properties(home), spec.PropDataset, "") // of releases that did not record the dataset
	on := func(pool string, props map[string]string) truenas.Dataset {
		return truenas.Dataset{ID: pool + "/virtrigaud/vms/" + web.OnNAS(), Type: truenas.Filesystem, LocalUserProperties: props}
	}
	vm := record(web, "flash/virtrigaud/vms/"+web.OnNAS()+"/root")
	for _, tt := range []struct {
		name     string
		vm       *truenas.VM
		datasets []truenas.Dataset
		want     []string // pools; nil with refused: an error
		refused  bool
	}{
		{"none", nil, nil, nil, false},
		{"one that records its name", nil, []truenas.Dataset{on("tank", web.Properties(home))}, []string{"tank"}, false},
		{"one that does not", nil, []truenas.Dataset{on("tank", old)}, []string{"tank"}, false},
		{"one that is a replica", nil, []truenas.Dataset{on("flash", web.Properties(home))}, nil, false},
		{"a replica and the original", nil, []truenas.Dataset{on("flash", web.Properties(home)), on("tank", web.Properties(home))}, []string{"tank"}, false},
		{"two that do not record their names", nil, []truenas.Dataset{on("flash", old), on("tank", old)}, nil, true},
		{"two, of which the VM uses one", &vm, []truenas.Dataset{on("flash", old), on("tank", old)}, []string{"flash"}, false},
		{"one in use and one that records its name", &vm, []truenas.Dataset{on("tank", web.Properties(home)), on("flash", old)}, []string{"flash", "tank"}, false},
		{"another VM's", nil, []truenas.Dataset{{ID: "tank/virtrigaud/vms/a", Type: truenas.Filesystem, LocalUserProperties: spec.Mark{Provider: "p", Name: "a"}.Properties("tank/virtrigaud/vms/a")}}, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, err := newMarks().Datasets(web.ID(), tt.vm, tt.datasets)
			var pools []string
			for _, d := range found {
				pools = append(pools, spec.PoolOf(d.ID))
			}
			if (err != nil) != tt.refused || !slices.Equal(pools, tt.want) {
				t.Errorf("got %v, %v", pools, err)
			}
		})
	}
}
