package sim

import (
	"bytes"
	"maps"
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

// iso makes a file in a dataset, because from 25.10 on a CD-ROM must not be in the root of a pool.
func (n *direct) iso(name, content string) string {
	n.t.Helper()
	_ = n.AddDataset("tank/iso", nil) // It may exist.
	if err := n.WriteFile("/mnt/tank/iso/"+name, []byte(content)); err != nil {
		n.t.Fatal(err)
	}
	return "/mnt/tank/iso/" + name
}

func TestDeviceRefusals(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			id := n.newVM("one", nil)
			n.volume("tank/v", 1<<30, nil)
			n.volume("tank/other", 1<<30, nil)
			n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/v"})
			for _, tt := range []struct {
				name       string
				attributes object
				errno      int
				words      string
			}{
				{"no dtype", object{"path": "/dev/zvol/tank/v"}, eINVAL, "dtype"},
				{"an unknown dtype", object{"dtype": "FLOPPY"}, eINVAL, "dtype"},
				{"what a NIC has not", object{"dtype": "NIC", "mtu": 9000}, eINVAL, "NIC.mtu: Extra inputs are not permitted"},
				{"a VLAN, which a NIC has not", object{"dtype": "NIC", "vlan": 20}, eINVAL, "NIC.vlan: Extra inputs are not permitted"},
				{"a missing interface", object{"dtype": "NIC", "nic_attach": "br9"}, eINVAL, "Not a valid choice."},
				{"a broadcast address", object{"dtype": "NIC", "mac": "FF:a0:98:00:00:01"}, eINVAL, "attributes.mac: MAC address must not start with `ff`"},
				{"filters on a bridge", object{"dtype": "NIC", "nic_attach": "br0", "type": "VIRTIO", "trust_guest_rx_filters": true}, eINVAL, `This can only be set when "nic_attach" is not a bridge device`},
				{"a physical sector size alone", object{"dtype": "DISK", "path": "/dev/zvol/tank/other", "physical_sectorsize": 4096}, eINVAL, "must be provided when physical_sectorsize is specified."},
				{"an invalid MAC", object{"dtype": "NIC", "mac": "12:34"}, eINVAL, "String should match pattern"},
				{"an unknown model", object{"dtype": "NIC", "type": "RTL8139"}, eINVAL, "Input should be 'E1000' or 'VIRTIO'"},
				{"a disk of the VM", object{"dtype": "DISK", "path": "/dev/zvol/tank/v"}, eINVAL, `one has "/dev/zvol/tank/v" already configured`},
				{"a missing disk", object{"dtype": "DISK", "path": "/dev/zvol/tank/w"}, eNOENT, n.since26("Zvol referenced by path does not exist", "Zvol (tank/w) path (/dev/zvol/tank/w) does not exist.")},
				{"a file system as a disk", object{"dtype": "DISK", "path": "/dev/zvol/tank"}, eINVAL, n.since26("Path specified does not reference to a VOLUME", "is not a volume.")},
				{"a disk without a path", object{"dtype": "DISK"}, eINVAL, "vm_device_create.attributes.DISK: Value error, Path must be specified if create_zvol is not set"},
				{"a missing CDROM", object{"dtype": "CDROM", "path": "/mnt/tank/x.iso"}, n.errnoSince26(eNOENT, eINVAL), n.since26("[ENOENT] Path not found.", "Path /mnt/tank/x.iso does not exist")},
				{"a CDROM outside of all datasets", object{"dtype": "CDROM", "path": "/mnt/x.iso"}, eINVAL, "must reside within a pool mount point"},
				{"a missing raw file", object{"dtype": "RAW", "path": "/mnt/tank/x.img", "exists": true}, eINVAL, "Path must exist"},
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
		vnc := object{"vm": id, "attributes": object{"dtype": "DISPLAY", "type": "VNC", "password": "secret", "web": false}}
		if release == "25.04.2" {
			n.fails(eINVAL, "Input should be 'SPICE'", "vm.device.create", vnc)
		} else {
			n.must(nil, "vm.device.create", vnc)
		}
	}
}

// Rule 20: up to 25.10 a VM may have two NICs with the same address, in any spelling. From 26 on the second is refused.
func TestNICsRepeatUpTo2510(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		id := n.newVM("one", nil)
		n.device(id, object{"dtype": "NIC", "nic_attach": "br0", "mac": "00:a0:98:00:00:0a"})
		again := object{"vm": id, "attributes": object{"dtype": "NIC", "nic_attach": "br0", "mac": "00:A0:98:00:00:0A"}}
		if n.release >= v26 {
			n.fails(eINVAL, "one already has a NIC with MAC address '00:A0:98:00:00:0A' configured", "vm.device.create", again)
			continue
		}
		n.must(nil, "vm.device.create", again)
		if got := len(n.machine(id).Devices); got != 2 {
			t.Errorf("%s: %d NICs", release, got)
		}
	}
}

func (n *direct) since26(before, after string) string {
	if n.release >= v26 {
		return after
	}
	return before
}

func (n *direct) errnoSince26(before, after int) int {
	if n.release >= v26 {
		return after
	}
	return before
}

// Rule 24: only devices with clashing orders move, each to the first free number.
func TestBootOrder(t *testing.T) {
	n := newDirect(t, "25.10")
	id := n.newVM("one", nil)
	n.volume("tank/a", 1<<30, nil)
	n.volume("tank/b", 1<<30, nil)
	iso := n.iso("x.iso", "x")
	disk := n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/a"})
	cdrom := n.device(id, object{"dtype": "CDROM", "path": iso})
	nic := n.device(id, object{"dtype": "NIC"})
	other := n.device(id, object{"dtype": "NIC"})
	if disk.Order != 1001 || cdrom.Order != 1000 || nic.Order != 1002 || other.Order != 1002 {
		t.Errorf("defaults: disk %d, CDROM %d, NICs %d and %d", disk.Order, cdrom.Order, nic.Order, other.Order)
	}
	var first shownDevice
	n.must(&first, "vm.device.create", object{"vm": id, "order": 1, "attributes": object{"dtype": "DISK", "path": "/dev/zvol/tank/b"}})
	if got := n.orders(id); got[disk.ID] != 1001 || got[first.ID] != 1 {
		t.Errorf("a free order moved other devices: %v", got)
	}
	n.must(nil, "vm.device.update", nic.ID, object{"order": 1})
	got := n.orders(id)
	if got[nic.ID] != 1 || got[first.ID] != 2 || got[cdrom.ID] != 1000 || got[disk.ID] != 1001 || got[other.ID] != 1002 {
		t.Errorf("a used order: %v", got)
	}
}

func TestMACIsGeneratedAtEveryStartUpTo2510(t *testing.T) {
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

func TestDeviceOfActiveMachineRemains(t *testing.T) {
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
			t.Errorf("%s: the volume remains", release)
		}
	}
}

func TestCDROMMayBePrivateButNotItsFolder(t *testing.T) {
	n := newDirect(t, "25.10")
	id := n.newVM("one", nil)
	n.iso("other.iso", "x")
	n.must(nil, "filesystem.mkdir", object{"path": "/mnt/tank/iso/seeds"})
	path := n.iso("seeds/a.iso", "x")
	n.must(nil, "filesystem.setperm", object{"path": path, "mode": "600"})
	n.must(nil, "filesystem.setperm", object{"path": "/mnt/tank/iso/seeds", "mode": "700"})
	cdrom := object{"dtype": "CDROM", "path": path}
	n.fails(eINVAL, "cannot read from", "vm.device.create", object{"vm": id, "attributes": cdrom})
	n.must(nil, "filesystem.setperm", object{"path": "/mnt/tank/iso/seeds", "mode": "711"})
	n.device(id, cdrom)
	n.must(nil, "vm.start", id)
}

// Rule 25: members of bridges are also among the choices.
func TestNICChoicesPerRelease(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		if n.release <= v25_10 {
			var choices map[string]string
			n.must(&choices, "vm.device.nic_attach_choices")
			if choices["br0"] != "br0" || choices["br20"] != "br20" || choices["eno1"] != "eno1" {
				t.Errorf("%s: %v", release, choices)
			}
			continue
		}
		var choices map[string][]string
		n.must(&choices, "vm.device.nic_attach_choices")
		if len(choices["BRIDGE"]) != 2 || len(choices["MACVLAN"]) != 2 {
			t.Errorf("%s: %v", release, choices)
		}
	}
}

// TrueNAS generates the serial of a disk at its creation, whatever the request contains. It cannot be changed.
func TestSerialIsGenerated(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		id := n.newVM("one", nil)
		n.volume("tank/v", 1<<30, nil)
		d := n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/v", "serial": "MINE"})
		if serial, _ := d.Attributes["serial"].(string); len(serial) != 8 {
			t.Errorf("%s: the serial is %q", release, serial)
		}
		n.fails(eINVAL, "attributes.serial: This field is read-only.", "vm.device.update", d.ID, object{"attributes": object{"dtype": "DISK", "path": "/dev/zvol/tank/v", "serial": "other"}})
	}
}

// "exists" of a raw file is not stored, so each update has to repeat it. A file in a missing folder cannot be made.
func TestRawFiles(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		id := n.newVM("one", nil)
		d := n.device(id, object{"dtype": "RAW", "path": "/mnt/tank/raw", "size": 1 << 20})
		if d.Attributes["exists"] != false {
			t.Errorf("%s: exists is %v", release, d.Attributes["exists"])
		}
		n.fails(eINVAL, `Path must not exist when "exists" is unset.`, "vm.device.update", d.ID, object{"attributes": object{"dtype": "RAW", "path": "/mnt/tank/raw", "size": 1 << 20}})
		n.must(nil, "vm.device.update", d.ID, object{"attributes": object{"dtype": "RAW", "path": "/mnt/tank/raw", "size": 1 << 20, "exists": true}})
		n.fails(eFAULT, "Failed to create or update raw file /mnt/tank/no/raw", "vm.device.create", object{"vm": id, "attributes": object{"dtype": "RAW", "path": "/mnt/tank/no/raw", "size": 1 << 20}})
	}
}

// TestDevicesByVM compares the devices of each VM with the list of all devices, after each kind of change.
func TestDevicesByVM(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			must(0, n.AddVolume("tank/disk", 1<<20, nil))
			must(0, n.AddVM("a", 1, 512, "tank/disk"))
			must(0, n.AddVM("b", 1, 512))
			nic := n.device(1, object{"dtype": "NIC", "nic_attach": "br0", "mac": "02:00:00:00:00:01"})
			var saved bytes.Buffer
			for _, step := range []struct {
				name string
				do   func()
				want map[int]int // devices by VM
			}{
				{"created", func() {}, map[int]int{1: 2}},
				{"saved", func() { must(0, n.Save(&saved)) }, map[int]int{1: 2}},
				{"moved", func() { n.must(nil, "vm.device.update", nic.ID, object{"vm": 2, "attributes": nic.Attributes}) }, map[int]int{1: 1, 2: 1}},
				{"moved machine deleted", func() { n.must(nil, "vm.delete", 2) }, map[int]int{1: 1}},
				{"cloned", func() { n.must(nil, "vm.clone", 1, "c") }, map[int]int{1: 1, 3: 1}},
				{"device deleted", func() { n.must(nil, "vm.device.delete", 1) }, map[int]int{3: 1}},
				{"loaded", func() { must(0, n.Load(&saved)) }, map[int]int{1: 2}},
			} {
				step.do()
				got := map[int]int{}
				for vm, devices := range n.Sim.state.devicesByVM() {
					got[vm] = len(devices)
					for _, d := range devices {
						if d.VM != vm || n.Sim.state.Devices[d.ID] != d {
							t.Errorf("%s: machine %d has device %+v", step.name, vm, d)
						}
					}
				}
				if !maps.Equal(got, step.want) {
					t.Errorf("%s: got %v, want %v", step.name, got, step.want)
				}
			}
		})
	}
}
