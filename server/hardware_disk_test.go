package server_test

import (
	"fmt"
	"path"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// diskOf returns a VM's device for a volume, and the volume.
func diskOf(t *testing.T, nas *sim.Sim, vm, volume string) (device map[string]any, dataset sim.DatasetState) {
	t.Helper()
	state := nas.State()
	for _, m := range state.VMs {
		for _, d := range m.Devices {
			if m.Config["name"] == vm && d.Attributes["path"] == "/dev/zvol/"+volume {
				device = d.Attributes
			}
		}
	}
	for _, d := range state.Datasets {
		if d.Name == volume {
			return device, d
		}
	}
	t.Fatalf("no volume %s", volume)
	return nil, dataset
}

// ofDisks are settings of disks, with their results on the NAS: for the root disk, a clone, and for the disk data.
var ofDisks = []struct {
	name       string
	give       []string
	root, data map[string]any // attributes of the device; in capitals: ZFS properties of the volume
	once       bool           // an existing disk cannot get the setting
}{
	{"nothing", nil, map[string]any{"type": "VIRTIO", "iotype": "THREADS", "logical_sectorsize": nil, "DEDUP": "off"}, map[string]any{"type": "VIRTIO", "DEDUP": "off", "BLOCK": 16384}, false},
	{"a bus", []string{"disk_bus=ahci"}, map[string]any{"type": "AHCI"}, map[string]any{"type": "AHCI"}, false},
	{"a bus of one disk", []string{"disk_bus.data=ahci"}, map[string]any{"type": "VIRTIO"}, map[string]any{"type": "AHCI"}, false},
	{"a bus of all but one", []string{"disk_bus=ahci", "disk_bus.root=virtio"}, map[string]any{"type": "VIRTIO"}, map[string]any{"type": "AHCI"}, false},
	{"Windows", []string{"os=windows", "disk_bus.data=virtio"}, map[string]any{"type": "AHCI"}, map[string]any{"type": "VIRTIO"}, false},
	{"I/O", []string{"disk_io=io_uring", "disk_io.data=native"}, map[string]any{"iotype": "IO_URING"}, map[string]any{"iotype": "NATIVE"}, false},
	{"sectors", []string{"disk_sector_size=4096", "disk_physical_sector_size=4096"}, map[string]any{"logical_sectorsize": 4096, "physical_sectorsize": 4096}, map[string]any{"logical_sectorsize": 4096}, true},
	{"compression", []string{"disk_compression=zstd", "disk_compression.root=off"}, map[string]any{"COMPRESSION": "off"}, map[string]any{"COMPRESSION": "zstd"}, false},
	{"sync", []string{"disk_sync=always"}, map[string]any{"SYNC": "always"}, map[string]any{"SYNC": "always"}, false},
	{"deduplication", []string{"disk_deduplication.data=on"}, map[string]any{"DEDUP": "off"}, map[string]any{"DEDUP": "on"}, false},
	{"a block size", []string{"disk_block_size=64k"}, map[string]any{"BLOCK": 16384}, map[string]any{"BLOCK": 65536}, true},
}

func checkDisk(t *testing.T, nas *sim.Sim, vm, volume string, want map[string]any) {
	t.Helper()
	device, dataset := diskOf(t, nas, vm, volume)
	for key, value := range want {
		got := device[key]
		switch key {
		case "COMPRESSION", "SYNC", "DEDUP":
			got = propertyOf(nas, volume, strings.ToLower(key))
		case "BLOCK":
			got = dataset.BlockSize
		}
		if fmt.Sprint(got) != fmt.Sprint(value) {
			t.Errorf("%s of %s is %v, want %v", key, volume, got, value)
		}
	}
}

// propertyOf returns a ZFS property of a dataset, from the nearest dataset that has it.
func propertyOf(nas *sim.Sim, dataset, name string) string {
	for _, d := range nas.State().Datasets {
		if d.Name == dataset && d.Properties[name] != "" {
			return d.Properties[name]
		}
	}
	if !strings.Contains(dataset, "/") {
		return ""
	}
	return propertyOf(nas, path.Dir(dataset), name)
}

// TestDiskSettingsReachTheNAS gives each setting at Create, twice, and reads it back from the NAS. The second Create and a
// Reconfigure with the same class change nothing.
func TestDiskSettingsReachTheNAS(t *testing.T) {
	t.Parallel()
	for _, tt := range ofDisks {
		t.Run(tt.name, func(t *testing.T) {
			for _, release := range releases {
				checkSettings(t, release, tt.give, func(nas *sim.Sim) {
					checkDisk(t, nas, "web_1", web1Dataset+"/root", tt.root)
					checkDisk(t, nas, "web_1", web1Dataset+"/data", tt.data)
				})
			}
		})
	}
}

// TestDiskSettingsChange gives each setting to a VM that has none, by Reconfigure and by another Create.
func TestDiskSettingsChange(t *testing.T) {
	t.Parallel()
	for _, tt := range ofDisks {
		for name, change := range settingChanges {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				for _, release := range releases {
					client, nas, _, id := onNAS(t, release)
					err := change(t, client, id, tt.give...)
					if tt.once {
						refusedWith(t, err, "FailedPrecondition", "cannot be changed")
						continue
					}
					if err != nil {
						t.Fatalf("%s: %v", release, err)
					}
					checkDisk(t, nas, "web_1", web1Dataset+"/root", tt.root)
					checkDisk(t, nas, "web_1", web1Dataset+"/data", tt.data)
				}
			})
		}
	}
}

// TestDiskSettingsAreRefusedByKey requests impossible settings; they change nothing.
func TestDiskSettingsAreRefusedByKey(t *testing.T) {
	t.Parallel()
	const p = "class_json.ExtraConfig.truenas.io/"
	for _, tt := range []struct {
		name string
		give []string
		want string
	}{
		{"a bus that does not exist", []string{"disk_bus=scsi"}, p + "disk_bus: "},
		{"a disk that does not exist", []string{"disk_bus.logs=ahci"}, p + `disk_bus.logs: the VM has no disk "logs"; it has root, data`},
		{"a physical size alone", []string{"disk_physical_sector_size=4096"}, p + "disk_physical_sector_size: needs truenas.io/disk_sector_size"},
		{"a physical size alone of one disk", []string{"disk_sector_size.root=4096", "disk_physical_sector_size.data=4096"}, p + "disk_physical_sector_size.data: needs"},
		{"a block size that does not exist", []string{"disk_block_size=3k"}, p + "disk_block_size: "},
		{"a serial", []string{"disk_serial=x"}, p + "disk_serial: not a setting"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, release := range releases {
				refusesSettings(t, release, tt.give, tt.want, true)
			}
		})
	}
	client, nas := onRelease(t, "25.10")
	addImage(t, nas)
	_, err := client.Create(t.Context(), withExtra("disk_block_size.root=64k"))
	refusedWith(t, err, "InvalidArgument", p+"disk_block_size.root: the disk is made from an image")
	req := withExtra("disk_bus.root=ahci")
	req.DisksJson = `[{"SizeGiB":1,"Name":"root"}]`
	_, err = client.Create(t.Context(), req)
	refusedWith(t, err, "InvalidArgument", p+`disk_bus.root: the VM has a disk named "root" beside its root disk`)
}

// A clone has its disks on the buses of its source, with the settings of its class.
func TestCloneHasTheBusesOfItsSource(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for _, linked := range []bool{true, false} {
			client, nas := onRelease(t, release)
			addImage(t, nas)
			resp, err := client.Create(t.Context(), withExtra("disk_bus=ahci", "disk_sector_size.data=4096"))
			if err != nil {
				t.Fatal(err)
			}
			req := &providerv1.CloneRequest{SourceVmId: resp.GetId(), TargetName: "copy", Linked: linked, ClassJson: `{"extraConfig":{"truenas.io/disk_bus.data":"virtio","truenas.io/disk_sync":"always"}}`}
			if _, err := client.Clone(t.Context(), req); err != nil {
				t.Fatalf("%s: linked %v: %v", release, linked, err)
			}
			tree := "tank/virtrigaud/vms/copy"
			checkDisk(t, nas, "copy", tree+"/root", map[string]any{"type": "AHCI", "SYNC": "always"})
			checkDisk(t, nas, "copy", tree+"/data", map[string]any{"type": "VIRTIO", "logical_sectorsize": 4096, "SYNC": "always"})
		}
	}
}
