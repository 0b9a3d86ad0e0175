package doctor

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

const home = "tank/virtrigaud/vms/web_1"

var mark = spec.Mark{Provider: "p", Name: "web-1"}

// examined is an examination of these VMs and datasets, all of which are old.
func examined(vms []truenas.VM, datasets ...truenas.Dataset) *examination {
	layout := spec.Layout{Dataset: "tank/virtrigaud"}
	claims := ownership.NewClaims(nil, "p", ownership.Installation{}, layout, nil, zap.NewNop())
	doctor := New(nil, Config{
		Provider: "p", Layout: layout, Claims: claims, Marks: ownership.NewMarks(nil, "p", layout, claims), Log: zap.NewNop(),
		CheckComplete: func(truenas.VM) error { return nil },
	})
	e := &examination{doctor: doctor, before: time.Now(), vms: vms, datasets: datasets, byID: map[string]truenas.Dataset{}}
	for _, d := range datasets {
		e.byID[d.ID] = d
	}
	return e
}

// machine is the record of web-1 with these disks.
func machine(volumes ...string) truenas.VM {
	vm := truenas.VM{ID: 1, UUID: mark.ID(), Name: "web_1", Description: mark.Describe(), Status: truenas.VMStatus{State: truenas.StateStopped}}
	for _, volume := range volumes {
		vm.Devices = append(vm.Devices, truenas.Device{Attributes: truenas.Disk(spec.ZvolPath(volume))})
	}
	return vm
}

// volume has data of so many bytes.
func volume(id string, written int64) truenas.Dataset {
	return truenas.Dataset{ID: id, Type: truenas.Volume, UsedByDatasetBytes: written, UsedBytes: written}
}

// TestDisksOfMachines: what contains more than the bookkeeping of ZFS stays. A disk that a revert has set aside stays, and its VM is
// not without disks.
func TestDisksOfMachines(t *testing.T) {
	pool, own := truenas.Dataset{ID: "tank"}, truenas.Dataset{ID: home, Type: truenas.Filesystem, LocalUserProperties: mark.Properties(home), UserProperties: mark.Properties(home)}
	for _, tt := range []struct {
		name               string
		e                  *examination
		kind, where, stays string // of the one leftover; no kind: none
	}{
		{"a whole VM", examined([]truenas.VM{machine(home + "/root")}, pool, own, volume(home+"/root", 1<<30)), "", "", ""},
		{"an empty loose disk", examined([]truenas.VM{machine(home + "/root")}, pool, own, volume(home+"/root", 0), volume(home+"/data", bookkeepingBytes)), "loose disk", home + "/data", ""},
		{"a loose disk with data", examined([]truenas.VM{machine(home + "/root")}, pool, own, volume(home+"/root", 0), volume(home+"/data", bookkeepingBytes+1)), "loose disk", home + "/data", "contains data"},
		{"a disk that was set aside", examined([]truenas.VM{machine(home + "/root")}, pool, own, volume(home+"/root", 0), volume(home+"/root-aside-1", 0)),
			"disk set aside by a revert", home + "/root-aside-1", "newer than the one that " + home + "/root was reverted to"},
		{"a revert that was interrupted", examined([]truenas.VM{machine(home + "/root")}, pool, own, volume(home+"/root-aside-1", 1<<30)),
			"disk set aside by a revert", home + "/root-aside-1", home + "/root was reverted to"},
		{"another disk that was set aside", examined([]truenas.VM{machine(home + "/data")}, pool, own, volume(home+"/root-aside-1", bookkeepingBytes)), "half-made VM", "web_1", ""},
		{"a VM without disks", examined([]truenas.VM{machine()}, pool), "VM without disks", "web_1", ""},
		{"a VM whose pool is away", examined([]truenas.VM{machine("gone/virtrigaud/vms/web_1/root")}, pool), "", "", ""},
		{"a half-made VM without data", examined([]truenas.VM{machine()}, pool, own, volume(home+"/root", bookkeepingBytes)), "half-made VM", "web_1", ""},
		{"a half-made VM with data", examined([]truenas.VM{machine()}, pool, own, volume(home+"/root", bookkeepingBytes+1)), "half-made VM", "web_1", home + "/root contains data"},
		{"no record", examined(nil, pool, own), "disks without VM", home, ""},
		{"no record, and an empty disk", examined(nil, pool, own, volume(home+"/root", bookkeepingBytes)), "disks without VM", home, ""},
		{"no record, and data", examined(nil, pool, own, volume(home+"/root", bookkeepingBytes+1)), "disks without VM", home, home + "/root contains data"},
		{"a running VM without disks", examined([]truenas.VM{running(machine())}, pool), "", "", ""},
		{"a VM of another client", examined([]truenas.VM{{ID: 1, UUID: "other", Status: truenas.VMStatus{State: truenas.StateStopped}}}, pool), "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := tt.e.machines()
			if (len(found) == 1) != (tt.kind != "") || len(found) > 1 {
				t.Fatalf("found %+v", found)
			}
			if len(found) == 0 {
				return
			}
			if l := found[0]; l.Kind != tt.kind || l.Where != tt.where || (l.Keep == "") != (tt.stays == "") || !strings.Contains(l.Keep, tt.stays) {
				t.Errorf("found %+v", l)
			}
		})
	}
	// What was made a moment ago may be work in progress.
	e := examined([]truenas.VM{machine(home + "/root")}, pool, own, volume(home+"/root", 0), volume(home+"/data", 0))
	e.before = time.Time{}
	if found := e.machines(); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}

func running(vm truenas.VM) truenas.VM {
	vm.Status.State = truenas.StateRunning
	return vm
}

// TestSnapshotted: snapshots are looked for in the trees of this provider, and of the disks of VMs anywhere, each once.
func TestSnapshotted(t *testing.T) {
	e := examined([]truenas.VM{machine(home+"/root", "tank/old/disk", "tank/gone"), machine("tank/old/disk")},
		truenas.Dataset{ID: "tank"}, truenas.Dataset{ID: "tank/virtrigaud"}, volume(home+"/root", 0), volume("tank/old/disk", 0), volume("tank/other", 0), volume("flash/virtrigaud/images/k/disk", 0))
	if got, want := strings.Join(e.snapshotted(), " "), "tank/virtrigaud "+home+"/root flash/virtrigaud/images/k/disk tank/old/disk"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestKindsOfStaging: the name of a staging dataset says what was interrupted. The lock of doctor and uploads that another one
// names are none.
func TestKindsOfStaging(t *testing.T) {
	staged := func(name string, props map[string]string) truenas.Dataset {
		all := map[string]string{spec.PropProvider: "p"}
		for key, value := range props {
			all[key] = value
		}
		return truenas.Dataset{ID: "tank/virtrigaud/staging/" + name, Type: truenas.Filesystem, LocalUserProperties: all}
	}
	e := examined(nil, staged("key", map[string]string{"virtrigaud:uploads": "tank/virtrigaud/staging/upload-1"}), staged("upload-1", nil), staged("upload-2", nil),
		staged("export-1", nil), staged("import-web_1", nil), staged("promote-web_1", nil), staged("doctor", nil))
	var got []string
	for _, l := range e.staging() {
		got = append(got, strings.TrimPrefix(l.Where, "tank/virtrigaud/staging/")+"="+l.Kind)
	}
	want := "key=staged image, upload-2=staged upload, export-1=interrupted export, import-web_1=staged import, promote-web_1=interrupted Delete or full clone"
	if got := strings.Join(got, ", "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
