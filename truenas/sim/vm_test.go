package sim

import (
	"reflect"
	"testing"
)

type shownVM struct {
	ID      int
	Name    string
	UUID    string
	Memory  int64
	OVMF    string `json:"bootloader_ovmf"`
	Machine string `json:"machine_type"`
	Arch    string `json:"arch_type"`
	Auto    bool   `json:"autostart"`
	Display bool   `json:"ensure_display_device"`
	CPUMode string `json:"cpu_mode"`
	Devices []shownDevice
	Status  struct {
		State       string
		PID         *int
		DomainState *string `json:"domain_state"`
	}
}

type shownDevice struct {
	ID, VM, Order int
	Attributes    map[string]any
}

func (n *direct) machine(id int) shownVM {
	n.t.Helper()
	var m shownVM
	n.must(&m, "vm.get_instance", id)
	return m
}

func (n *direct) newVM(name string, more object) int {
	n.t.Helper()
	p := object{"name": name, "memory": 512}
	for k, v := range more {
		p[k] = v
	}
	var m shownVM
	n.must(&m, "vm.create", p)
	return m.ID
}

func TestSurprisingVMDefaults(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			m := n.machine(n.newVM("one", nil))
			if !m.Auto || !m.Display || m.CPUMode != "CUSTOM" || m.OVMF == "" || len(m.UUID) != 36 || m.UUID[14] != '4' {
				t.Errorf("a VM with defaults is %+v", m)
			}
			n.volume("tank/v", 1<<30, nil)
			disk := n.device(m.ID, object{"dtype": "DISK", "path": "/dev/zvol/tank/v"})
			nic := n.device(m.ID, object{"dtype": "NIC"})
			if disk.Attributes["type"] != "AHCI" || disk.Attributes["iotype"] != "THREADS" || nic.Attributes["type"] != "E1000" {
				t.Errorf("devices with defaults are %+v and %+v", disk, nic)
			}
			if text, _ := disk.Attributes["serial"].(string); len(text) != 8 {
				t.Errorf("the disk's serial is %q", text)
			}
		})
	}
}

func TestVMRefusals(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.newVM("taken", nil)
			for _, tt := range []struct {
				name  string
				data  object
				errno int
				words string
			}{
				{"a hyphen in the name", object{"name": "a-b", "memory": 512}, eINVAL, "vm_create.name: Only alphanumeric characters are allowed."},
				{"a duplicate name", object{"name": "taken", "memory": 512}, eEXIST, "This name already exists."},
				{"no name", object{"memory": 512}, eINVAL, "vm_create.name: Field required"},
				{"an empty name", object{"name": "", "memory": 512}, eINVAL, "at least 1 character"},
				{"too little memory", object{"name": "a", "memory": 19}, eINVAL, "vm_create.memory: Input should be greater than or equal to 20"},
				{"memory as text", object{"name": "a", "memory": "512"}, eINVAL, "valid integer"},
				{"devices", object{"name": "a", "memory": 512, "devices": []any{}}, eINVAL, "vm_create.devices: Extra inputs are not permitted"},
				{"too many processors", object{"name": "a", "memory": 512, "vcpus": 4, "cores": 8, "threads": 8}, eINVAL, "Maximum 255 vcpus are supported."},
				{"an invalid UUID", object{"name": "a", "memory": 512, "uuid": "c56a4180"}, eINVAL, "vm_create.uuid: Value error, UUID is not valid version 4"},
				{"a too long shutdown timeout", object{"name": "a", "memory": 512, "shutdown_timeout": 301}, eINVAL, "less than or equal to 300"},
				{"an unknown firmware", object{"name": "a", "memory": 512, "bootloader": "BIOS"}, eINVAL, "Input should be 'UEFI_CSM' or 'UEFI'"},
				{"secure boot without q35", object{"name": "a", "memory": 512, "enable_secure_boot": true, "bootloader_ovmf": "OVMF_CODE_4M.secboot.fd", "machine_type": "pc", "arch_type": "x86_64"}, eINVAL, "Secure boot is only available in q35 machine type"},
				{"an unterminated quotation", object{"name": "a", "memory": 512, "command_line_args": "\"x"}, eINVAL, "Parse error: No closing quotation"},
				{"a missing OVMF", object{"name": "a", "memory": 512, "bootloader_ovmf": "OVMF.fd"}, eINVAL, "Invalid bootloader ovmf choice"},
				{"more memory at least than at most", object{"name": "a", "memory": 512, "min_memory": 600}, eINVAL, "Minimum memory"},
			} {
				t.Run(tt.name, func(t *testing.T) {
					before := n.State()
					n.t = t
					n.fails(tt.errno, tt.words, "vm.create", tt.data)
					if !reflect.DeepEqual(before, n.State()) {
						t.Error("the refused call changed the state")
					}
				})
			}
		})
	}
}

// A UUID is stored unchanged, whatever its version.
func TestVMUUIDIsKept(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		for _, id := range []string{"0b1e3f5a-7c2d-4e8f-9a0b-1c2d3e4f5a6b", "c56a4180-65aa-11ec-a5ad-0800200c9a66"} {
			if got := n.machine(n.newVM("vm_"+id[:8], object{"uuid": id})).UUID; got != id {
				t.Errorf("%s: %s became %s", release, id, got)
			}
		}
	}
}

// Rule 26: secure boot sets its own machine type.
func TestSecureBootPicksItsFirmware(t *testing.T) {
	for _, release := range []string{"25.10", "26", "27"} {
		n := newDirect(t, release)
		if m := n.machine(n.newVM("a", object{"enable_secure_boot": true, "bootloader_ovmf": nil})); m.OVMF != "OVMF_CODE_4M.secboot.fd" || m.Machine != "pc-q35-6.2" || m.Arch != "x86_64" {
			t.Errorf("%s: the firmware is %s, the machine %s of %s", release, m.OVMF, m.Machine, m.Arch)
		}
	}
}

func TestVMUpdate(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			id := n.newVM("a", object{"description": "kept"})
			n.must(nil, "vm.update", id, object{"memory": 1024})
			if m := n.machine(id); m.Memory != 1024 {
				t.Errorf("after the update: %+v", m)
			}
			n.fails(eNOENT, "VM 9 does not exist", "vm.update", 9, object{"memory": 1024})
			if release == "25.04.2" {
				n.must(nil, "vm.update", id, object{"bootloader_ovmf": "OVMF_CODE_4M.fd"})
			} else {
				n.fails(eINVAL, "Extra inputs are not permitted", "vm.update", id, object{"bootloader_ovmf": "OVMF_CODE_4M.fd"})
				n.fails(eINVAL, "Extra inputs are not permitted", "vm.update", id, object{"enable_secure_boot": true})
			}
			n.must(nil, "vm.start", id)
			n.fails(eFAULT, "only be changed when VM is inactive", "vm.update", id, object{"name": "b"})
			n.must(nil, "vm.update", id, object{"memory": 2048})
			var used int64
			n.must(&used, "vm.get_memory_usage", id)
			if used != 1024<<20 {
				t.Errorf("a running VM got the new memory at once: %d bytes", used)
			}
		})
	}
}

func TestVMDelete(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.volume("tank/v", 1<<30, nil)
			id := n.newVM("a", nil)
			n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/v"})
			n.must(nil, "vm.start", id)
			began := n.clock.Now()
			if n.release >= v26 {
				n.fails(eBUSY, "'a' is running; stop the VM first or pass force to delete it.", "vm.delete", id)
				n.must(nil, "vm.delete", id, object{"zvols": true, "force": true})
			} else {
				n.must(nil, "vm.delete", id, object{"zvols": true})
				if took := n.clock.Now().Sub(began); took < graceAfterPowerOff {
					t.Errorf("the deletion of a running VM took %s", took)
				}
			}
			if s := n.State(); len(s.VMs) != 0 || len(s.Datasets) != 2 {
				t.Errorf("left over: %+v", s)
			}
			n.fails(eNOENT, "VM 1 does not exist", "vm.delete", id)
		})
	}
}

func TestVMDeleteStopsAtAVolumeWithClones(t *testing.T) {
	n := newDirect(t, "25.10")
	n.volume("tank/v", 1<<30, nil)
	id := n.newVM("a", nil)
	n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/v"})
	n.must(nil, "vm.clone", id, "b")
	n.fails(eFAULT, "volume has dependent clones\nuse '-R' to destroy the following datasets:\ntank/v_b", "vm.delete", id, object{"zvols": true})
	if len(n.VMs()) != 2 {
		t.Error("the VM was deleted although its volume remains")
	}
	n.must(nil, "vm.delete", 2, object{"zvols": true})
	n.must(nil, "vm.delete", id, object{"zvols": true})
}

func TestVMCloneWantsAPasswordOnItsDisplay(t *testing.T) {
	n := newDirect(t, "25.10")
	id := n.newVM("a", nil)
	n.fails(eINVAL, "Password", "vm.device.create", object{"vm": id, "attributes": object{"dtype": "DISPLAY"}})
	n.device(id, object{"dtype": "DISPLAY", "password": "secret"})
	n.device(id, object{"dtype": "NIC", "mac": "00:a0:98:00:00:01"})
	n.must(nil, "vm.clone", id)
	copied := n.machine(2)
	if copied.Name != "a_clone0" || copied.UUID == n.machine(id).UUID || len(copied.Devices) != 2 {
		t.Errorf("the clone is %+v", copied)
	}
	for _, d := range copied.Devices {
		if d.Attributes["mac"] == "00:a0:98:00:00:01" || d.Attributes["port"] == 5900.0 {
			t.Errorf("the clone and its origin: %+v", d)
		}
	}
}

// Rule 27: a clone has the description of its original. Only its name and UUID differ.
func TestVMCloneCopiesTheDescription(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		id := n.newVM("a", object{"description": "of the original"})
		n.must(nil, "vm.clone", id, "b")
		var one, two map[string]any
		n.must(&one, "vm.get_instance", id)
		n.must(&two, "vm.get_instance", 2)
		if one["uuid"] == two["uuid"] || two["name"] != "b" {
			t.Errorf("%s: the clone is %v", release, two)
		}
		for key, value := range one {
			if key != "id" && key != "name" && key != "uuid" && !reflect.DeepEqual(value, two[key]) {
				t.Errorf("%s: %s is %v, and %v in the clone", release, key, value, two[key])
			}
		}
	}
}

// Rule 23: from 26 on a start can fail after the VM runs.
func TestStartFailsAfterMachineRuns(t *testing.T) {
	n := newWire(t, Config{Release: "26"})
	p := n.login()
	p.must("vm.create", object{"name": "one", "memory": 512})
	n.Inject(Fault{Method: "vm.start", Then: RefuseAfter})
	p.fails("vm.start", 1)
	if got := n.VMs()[0].State; got != running {
		t.Errorf("it is %s", got)
	}
}
