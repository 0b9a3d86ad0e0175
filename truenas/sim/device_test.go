package sim

import (
	"testing"
)

func (n *direct) device(vm int, attributes object) shownDevice {
	n.t.Helper()
	var d shownDevice
	n.must(&d, "vm.device.create", object{"vm": vm, "attributes": attributes})
	return d
}

func (n *direct) orders(vm int) map[int]int {
	orders := map[int]int{}
	for _, d := range n.machine(vm).Devices {
		orders[d.ID] = d.Order
	}
	return orders
}

func TestDeviceRefusals(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			id := n.newVM("one", nil)
			n.volume("tank/v", 1<<30, nil)
			n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/v"})
			for _, tt := range []struct {
				name       string
				attributes object
				errno      int
				words      string
			}{
				{"no dtype", object{"path": "/dev/zvol/tank/v"}, eINVAL, "dtype"},
				{"a dtype that is none", object{"dtype": "FLOPPY"}, eINVAL, "dtype"},
				{"what a NIC has not", object{"dtype": "NIC", "mtu": 9000}, eINVAL, "NIC.mtu: Extra inputs are not permitted"},
				{"a VLAN, which a NIC has not", object{"dtype": "NIC", "vlan": 20}, eINVAL, "NIC.vlan: Extra inputs are not permitted"},
				{"an interface that is not there", object{"dtype": "NIC", "nic_attach": "br9"}, eINVAL, "Not a valid choice."},
				{"a member of a bridge", object{"dtype": "NIC", "nic_attach": "eno1"}, eINVAL, "Not a valid choice."},
				{"a MAC that is none", object{"dtype": "NIC", "mac": "12:34"}, eINVAL, "String should match pattern"},
				{"a model that is none", object{"dtype": "NIC", "type": "RTL8139"}, eINVAL, "Input should be 'E1000' or 'VIRTIO'"},
				{"a disk that is on the machine", object{"dtype": "DISK", "path": "/dev/zvol/tank/v"}, eINVAL, `one has "/dev/zvol/tank/v" already configured`},
				{"a disk that is not there", object{"dtype": "DISK", "path": "/dev/zvol/tank/w"}, eNOENT, "Disk path /dev/zvol/tank/w does not exist."},
				{"a disk without a path", object{"dtype": "DISK"}, eINVAL, "Disk path is required."},
				{"a CDROM that is not there", object{"dtype": "CDROM", "path": "/mnt/tank/x.iso"}, eINVAL, "Unable to locate CDROM device at /mnt/tank/x.iso"},
				{"a CDROM outside of all datasets", object{"dtype": "CDROM", "path": "/mnt/x.iso"}, eINVAL, "must reside within a pool mount point"},
				{"a raw file that should be there", object{"dtype": "RAW", "path": "/mnt/tank/x.img", "exists": true}, eINVAL, "Path must exist"},
				{"a raw file without a size", object{"dtype": "RAW", "path": "/mnt/tank/x.img"}, eINVAL, "valid size"},
			} {
				t.Run(tt.name, func(t *testing.T) {
					n.t = t
					n.fails(tt.errno, tt.words, "vm.device.create", object{"vm": id, "attributes": tt.attributes})
				})
			}
			n.t = t
			n.fails(eNOENT, "VM 9 does not exist", "vm.device.create", object{"vm": 9, "attributes": object{"dtype": "NIC"}})
		})
	}
}

func TestDisplayTypesPerRelease(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		id := n.newVM("one", nil)
		vnc := object{"vm": id, "attributes": object{"dtype": "DISPLAY", "type": "VNC", "password": "secret"}}
		if release == "25.04.2" {
			n.fails(eINVAL, "Input should be 'SPICE'", "vm.device.create", vnc)
		} else {
			n.must(nil, "vm.device.create", vnc)
		}
	}
}

func TestNICsRepeat(t *testing.T) {
	n := newDirect(t, "25.10")
	id := n.newVM("one", nil)
	nic := object{"dtype": "NIC", "nic_attach": "br0", "mac": "00:a0:98:00:00:01"}
	n.device(id, nic)
	n.device(id, nic)
	if got := len(n.machine(id).Devices); got != 2 {
		t.Errorf("there are %d NICs", got)
	}
}

// Rule 24: only devices whose orders clash move, each to the first free number.
func TestBootOrder(t *testing.T) {
	n := newDirect(t, "25.10")
	id := n.newVM("one", nil)
	n.volume("tank/a", 1<<30, nil)
	n.volume("tank/b", 1<<30, nil)
	if err := n.WriteFile("/mnt/tank/x.iso", []byte("x")); err != nil {
		t.Fatal(err)
	}
	disk := n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/a"})
	cdrom := n.device(id, object{"dtype": "CDROM", "path": "/mnt/tank/x.iso"})
	nic := n.device(id, object{"dtype": "NIC"})
	other := n.device(id, object{"dtype": "NIC"})
	if disk.Order != 1001 || cdrom.Order != 1000 || nic.Order != 1002 || other.Order != 1002 {
		t.Errorf("defaults: disk %d, CDROM %d, NICs %d and %d", disk.Order, cdrom.Order, nic.Order, other.Order)
	}
	var first shownDevice
	n.must(&first, "vm.device.create", object{"vm": id, "order": 1, "attributes": object{"dtype": "DISK", "path": "/dev/zvol/tank/b"}})
	if got := n.orders(id); got[disk.ID] != 1001 || got[first.ID] != 1 {
		t.Errorf("an order that was free moved other devices: %v", got)
	}
	n.must(nil, "vm.device.update", nic.ID, object{"order": 1})
	got := n.orders(id)
	if got[nic.ID] != 1 || got[first.ID] != 2 || got[cdrom.ID] != 1000 || got[disk.ID] != 1001 || got[other.ID] != 1002 {
		t.Errorf("an order that was taken: %v", got)
	}
}

func TestMACIsMadeAtEveryStartUpTo2510(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			id := n.newVM("one", nil)
			nic := n.device(id, object{"dtype": "NIC", "nic_attach": "br0"})
			n.SetGuest("one", Guest{Addresses: []string{"192.0.2.10"}})
			seen := map[string]bool{}
			for range 2 {
				n.must(nil, "vm.start", id)
				var arp map[string]string
				n.must(&arp, "core.arp", object{})
				seen[arp["192.0.2.10"]] = true
				n.must(nil, "vm.poweroff", id)
			}
			want := 2
			if n.release >= v26 {
				want = 1
			}
			if len(seen) != want || seen[""] || (nic.Attributes["mac"] != nil) != (want == 1) {
				t.Errorf("two starts had the MACs %v, the device says %v", seen, nic.Attributes["mac"])
			}
		})
	}
}

func TestDeviceOfAnActiveMachineStays(t *testing.T) {
	n := newDirect(t, "25.10")
	id := n.newVM("one", nil)
	nic := n.device(id, object{"dtype": "NIC"})
	n.must(nil, "vm.start", id)
	n.fails(eFAULT, "Please stop/resume associated VM before deleting VM device.", "vm.device.delete", nic.ID)
	n.must(nil, "vm.poweroff", id)
	n.must(nil, "vm.device.delete", nic.ID)
	n.fails(eNOENT, "VMDevice 1 does not exist", "vm.device.delete", nic.ID)
}

func TestDiskCanBringItsVolume(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		id := n.newVM("one", nil)
		d := n.device(id, object{"dtype": "DISK", "create_zvol": true, "zvol_name": "tank/my disk", "zvol_volsize": 1 << 30})
		if d.Attributes["path"] != "/dev/zvol/tank/my+disk" {
			t.Errorf("%s: the path is %v", release, d.Attributes["path"])
		}
		if reserved := n.sizes("tank/my disk").Reserved.Parsed; reserved == 0 {
			t.Errorf("%s: the volume is sparse", release)
		}
		n.must(nil, "vm.device.delete", d.ID, object{"zvol": true})
		if len(n.State().Datasets) != 2 {
			t.Errorf("%s: the volume stayed", release)
		}
	}
}

func TestCDROMMayBePrivateButNotItsFolder(t *testing.T) {
	n := newDirect(t, "25.10")
	id := n.newVM("one", nil)
	n.must(nil, "filesystem.mkdir", object{"path": "/mnt/tank/seeds"})
	if err := n.WriteFile("/mnt/tank/seeds/a.iso", []byte("x")); err != nil {
		t.Fatal(err)
	}
	n.must(nil, "filesystem.setperm", object{"path": "/mnt/tank/seeds/a.iso", "mode": "600"})
	n.must(nil, "filesystem.setperm", object{"path": "/mnt/tank/seeds", "mode": "700"})
	cdrom := object{"dtype": "CDROM", "path": "/mnt/tank/seeds/a.iso"}
	n.fails(eINVAL, "cannot read from", "vm.device.create", object{"vm": id, "attributes": cdrom})
	n.must(nil, "filesystem.setperm", object{"path": "/mnt/tank/seeds", "mode": "711"})
	n.device(id, cdrom)
	n.must(nil, "vm.start", id)
}

func TestNICChoicesPerRelease(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		if n.release <= v25_10 {
			var choices map[string]string
			n.must(&choices, "vm.device.nic_attach_choices")
			if choices["br0"] != "br0" || choices["br20"] != "br20" {
				t.Errorf("%s: %v", release, choices)
			}
			continue
		}
		var choices map[string][]string
		n.must(&choices, "vm.device.nic_attach_choices")
		if len(choices["BRIDGE"]) != 2 || len(choices["MACVLAN"]) != 0 {
			t.Errorf("%s: %v", release, choices)
		}
	}
}
