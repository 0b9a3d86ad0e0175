package vmrecord

import (
	"slices"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

func diskAt(id int64, order int, volume string) truenas.Device {
	return truenas.Device{ID: id, Order: order, Attributes: truenas.Disk(spec.ZvolPath(volume))}
}

// TestDisksAreInBootOrder: the device with the lowest order boots first, and of equal ones the oldest. Other devices do not count,
// and the record itself keeps its order.
func TestDisksAreInBootOrder(t *testing.T) {
	vm := truenas.VM{Devices: []truenas.Device{
		diskAt(9, 1001, "tank/c"), diskAt(3, 1002, "tank/d"), diskAt(7, 1001, "tank/b"), diskAt(11, 1000, "tank/my disk"),
		{ID: 1, Order: 1, Attributes: truenas.CDROM("/mnt/tank/a.iso")},
		{ID: 2, Order: 2, Attributes: truenas.DeviceAttributes{DType: truenas.DeviceRaw, Path: "/dev/zvol/tank/raw"}},
		{ID: 4, Order: 3, Attributes: truenas.Disk("/dev/sda")},
	}}
	if got, want := Disks(vm), []string{"tank/my disk", "tank/b", "tank/c", "tank/d"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if vm.Devices[0].ID != 9 {
		t.Error("the devices of the record were sorted")
	}
}

// TestInOrder: the root disk has to be the first of all disks; disks that the VM lacks, and disks that are not in the list, do not
// count otherwise.
func TestInOrder(t *testing.T) {
	for _, tt := range []struct {
		has, wanted []string
		want        bool
	}{
		{[]string{"root", "a", "b"}, []string{"root", "a", "b"}, true},
		{[]string{"root", "b", "a"}, []string{"root", "a", "b"}, false},
		{[]string{"a", "root"}, []string{"root", "a"}, false},
		{[]string{"root", "other", "a"}, []string{"root", "a"}, true},
		{[]string{"other", "root", "a"}, []string{"root", "a"}, false},
		{[]string{"root", "b"}, []string{"root", "a", "b"}, true},
		{[]string{"other"}, []string{"root", "a"}, true},
		{nil, []string{"root"}, true},
	} {
		var vm truenas.VM
		for i, volume := range tt.has {
			vm.Devices = append(vm.Devices, diskAt(int64(i+1), 1000, "tank/"+volume))
		}
		var wanted []string
		for _, volume := range tt.wanted {
			wanted = append(wanted, "tank/"+volume)
		}
		if got := InOrder(vm, wanted); got != tt.want {
			t.Errorf("%q, wanted %q: got %t", tt.has, tt.wanted, got)
		}
	}
}

// TestMarkNeedsItsUUID: a copy that was made in TrueNAS has the description of the original and another UUID.
func TestMarkNeedsItsUUID(t *testing.T) {
	m := spec.Mark{Provider: "p", Name: "web-1"}
	for _, tt := range []struct {
		name, uuid, description string
		want                    string // the name for messages
		marked                  bool
	}{
		{"its record", m.ID(), m.Describe(), "web-1", true},
		{"its record in capitals", strings.ToUpper(m.ID()), m.Describe(), "web-1", true},
		{"a copy", "11111111-1111-4111-8111-111111111111", m.Describe(), "on_nas", false},
		{"no mark", m.ID(), "my own VM", "on_nas", false},
	} {
		vm := truenas.VM{Name: "on_nas", UUID: tt.uuid, Description: tt.description}
		if _, marked := Mark(vm); marked != tt.marked || Name(vm) != tt.want {
			t.Errorf("%s: marked %t, name %s", tt.name, marked, Name(vm))
		}
	}
	nameless := spec.Mark{Provider: "p"}
	if got := Name(truenas.VM{Name: "on_nas", UUID: nameless.ID(), Description: nameless.Describe()}); got != "on_nas" {
		t.Errorf("the name of a mark without a name is %q", got)
	}
}

// TestPartsOfARecord reads a record with all kinds of devices.
func TestPartsOfARecord(t *testing.T) {
	root := diskAt(1, 1000, "tank/vms/a/root")
	root.Attributes.Serial = "s1"
	vm := truenas.VM{ID: 1, UUID: "a", Name: "a", VCPUs: 2, Cores: 3, Threads: 4, Devices: []truenas.Device{
		root, diskAt(2, 1001, "tank/vms/a/data"), {ID: 3, Attributes: truenas.Disk("/dev/sda")},
		{ID: 4, Attributes: truenas.CDROM("/mnt/tank/vms/a/seed-1.iso")}, {ID: 5, Attributes: truenas.CDROM("/mnt/tank/iso/x.iso")},
		{ID: 6, Attributes: truenas.NIC("br0", "02-00-00-0A-0B-0C", "VIRTIO")}, {ID: 7, Attributes: truenas.NIC("br0", "", "VIRTIO")},
		{ID: 8, Attributes: truenas.Display("0.0.0.0", "x")},
	}}
	for _, tt := range []struct {
		name      string
		got, want []string
	}{
		{"places", Places(vm), []string{"tank/vms/a/root", "tank/vms/a/data", "tank/vms/a", "tank/iso"}},
		{"volumes", Volumes(vm), []string{"tank/vms/a/root", "tank/vms/a/data"}},
		{"serials", Serials(vm), []string{"root=s1"}},
		{"CD-ROMs", CDROMs(vm), []string{"/mnt/tank/iso/x.iso"}},
		{"MACs", MACs(vm), []string{"02:00:00:0a:0b:0c"}},
		{"users of a dataset", UsersOf([]truenas.VM{vm, {ID: 2, Name: "b"}}, "tank/vms/a", -1), []string{"a"}},
		{"users of a disk", UsersOf([]truenas.VM{vm}, "tank/vms/a/data", -1), []string{"a"}},
		{"users of a file", UsersOf([]truenas.VM{vm}, "tank/iso", -1), []string{"a"}},
		{"users but for the VM itself", UsersOf([]truenas.VM{vm}, "tank/vms/a", 1), nil},
		{"users of a dataset whose name begins alike", UsersOf([]truenas.VM{vm}, "tank/vms/a/da", -1), nil},
	} {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, tt.got, tt.want)
		}
	}
	if CPUs(vm) != 24 {
		t.Errorf("%d CPUs", CPUs(vm))
	}
	if at := slices.IndexFunc(vm.Devices, IsDisk("tank/vms/a/data")); at != 1 {
		t.Errorf("the disk is device %d", at)
	}
	cdrom := truenas.Device{Attributes: truenas.CDROM(spec.ZvolPath("tank/vms/a/data"))}
	if IsDisk("tank/vms/a/data")(cdrom) {
		t.Error("a CD-ROM drive counts as a disk")
	}
}

// TestActive: a suspended VM holds its devices as a running one does.
func TestActive(t *testing.T) {
	for state, want := range map[string]bool{
		truenas.StateRunning: true, truenas.StateSuspended: true, truenas.StateStopped: false, truenas.StateError: false,
	} {
		if got := Active(truenas.VM{Status: truenas.VMStatus{State: state}}); got != want {
			t.Errorf("%s: got %t", state, got)
		}
	}
}

// TestDuplicateNICs: NICs without an address do not count.
func TestDuplicateNICs(t *testing.T) {
	nic := func(mac string) truenas.Device { return truenas.Device{Attributes: truenas.NIC("br0", mac, "VIRTIO")} }
	for _, tt := range []struct {
		devices []truenas.Device
		want    bool
	}{
		{[]truenas.Device{nic("02:00:00:00:00:01"), nic("02:00:00:00:00:02")}, false},
		{[]truenas.Device{nic("02:00:00:00:00:0a"), nic(""), nic("02-00-00-00-00-0A")}, true},
		{[]truenas.Device{nic(""), nic("")}, false},
	} {
		if got := HasDuplicateNICs(truenas.VM{Devices: tt.devices}); got != tt.want {
			t.Errorf("%+v: got %t", tt.devices, got)
		}
	}
}
