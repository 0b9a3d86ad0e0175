package qemu

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/truenas/sim"
)

// bench is a hypervisor without QEMU and with invalid firmware.
func bench(t *testing.T) *Hypervisor {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"OVMF_VARS.fd", "OVMF_VARS_4M.fd", "OVMF_VARS_4M.ms.fd"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h, err := New(Options{Program: os.Args[0], Firmware: dir, Accelerator: "tcg"})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func machine() sim.Machine {
	disk := &memory{data: make([]byte, 512)}
	return sim.Machine{
		Name: "web", UUID: "6f0927f5-1d35-4065-9824-328255a4b6eb", Sockets: 1, Cores: 2, Threads: 1, MemoryMiB: 512, CPUMode: "HOST-PASSTHROUGH",
		Devices: []sim.MachineDevice{
			{Kind: "DISK", Model: "VIRTIO", Serial: "S,1", Storage: disk, Logical: 4096},
			{Kind: "DISK", Model: "AHCI", Serial: "S2", Storage: disk},
			{Kind: "CDROM", Storage: finished{disk}},
			{Kind: "NIC", Model: "VIRTIO", MAC: "00:a0:98:00:00:01", Attach: "br0"},
			{Kind: "NIC", Model: "E1000", MAC: "00:a0:98:00:00:02", Attach: "br20"},
		},
	}
}

func line(t *testing.T, m sim.Machine, accelerator string) (string, []wire, error) {
	t.Helper()
	var wires []wire
	a := &arguments{plug: func(w wire) int {
		wires = append(wires, w)
		return firstInherited + len(wires) - 1
	}}
	err := a.machine(bench(t), m, accelerator)
	return strings.Join(a.list, " "), wires, err
}

func TestArguments(t *testing.T) {
	for _, tt := range []struct {
		name string
		with func(*sim.Machine)
		want []string
	}{
		{"its identity and size", nil, []string{"-uuid 6f0927f5-1d35-4065-9824-328255a4b6eb", "-m 512M", "-smp sockets=1,cores=2,threads=1", "-cpu max", "-rtc base=utc"}},
		{"a BIOS", nil, []string{"-machine pc "}},
		{"disks in boot order", nil, []string{
			"virtio-blk-pci,drive=node0,bootindex=1,serial=S,,1,logical_block_size=4096", "ide-hd,bus=ahci0.0,drive=node1,bootindex=2,serial=S2", "ide-cd,bus=ahci0.1,drive=node2,bootindex=3",
		}},
		{"NICs", nil, []string{"virtio-net-pci,netdev=net0,mac=00:a0:98:00:00:01", "e1000,netdev=net1,mac=00:a0:98:00:00:02"}},
		{"a read-only CD-ROM", nil, []string{`"node-name":"node2","read-only":true`}},
		{"UEFI", func(m *sim.Machine) { m.Firmware = "OVMF_CODE.fd" }, []string{"-machine pc,pflash0=code,pflash1=node0", "/OVMF_CODE.fd"}},
		{"secure boot", func(m *sim.Machine) { m.Firmware, m.SecureBoot = "OVMF_CODE_4M.secboot.fd", true }, []string{"-machine q35,smm=on,pflash0=code,", "property=secure,value=on"}},
		{"a model of processor", func(m *sim.Machine) { m.CPUMode, m.CPUModel = "CUSTOM", "Haswell" }, []string{"-cpu Haswell"}},
		{"visible threads of AMD's processors", func(m *sim.Machine) { m.Threads, m.TopologyExtension = 2, true }, []string{"-cpu max,topoext=on ", "cores=2,threads=2"}},
		{"no such threads on another model", func(m *sim.Machine) { m.CPUMode, m.CPUModel, m.TopologyExtension = "CUSTOM", "EPYC", true }, []string{"-cpu EPYC -m"}},
		{"KVM is hidden", func(m *sim.Machine) { m.HideKVM = true }, []string{"-cpu max,kvm=off "}},
		{"a type of machine, in local time", func(m *sim.Machine) { m.MachineType, m.LocalTime = "q35", true }, []string{"-machine q35 ", "-rtc base=localtime"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := machine()
			if tt.with != nil {
				tt.with(&m)
			}
			got, _, err := line(t, m, "tcg")
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q is missing in\n%s", want, got)
				}
			}
		})
	}
}

func TestInheritedDescriptors(t *testing.T) {
	got, wires, err := line(t, machine(), "kvm")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, "-cpu host") || !strings.Contains(got, "socket,id=control,fd=3") || !strings.Contains(got, "addr.type=fd,addr.str=9") {
		t.Error(got)
	}
	var kinds []string
	for _, w := range wires {
		switch {
		case w.control:
			kinds = append(kinds, "control")
		case w.serial:
			kinds = append(kinds, "serial")
		case w.agent:
			kinds = append(kinds, "agent")
		case w.storage != nil:
			kinds = append(kinds, "storage")
		default:
			kinds = append(kinds, w.network)
		}
	}
	if want := []string{"control", "serial", "agent", "storage", "storage", "storage", "br0", "br20"}; !slices.Equal(kinds, want) {
		t.Errorf("%v, want %v", kinds, want)
	}
}

// TestUplinks checks that a NIC on an uplink uses QEMU's user network, and inherits no socket.
func TestUplinks(t *testing.T) {
	h := bench(t)
	h.uplinks = map[string]Uplink{"br0": {BootFile: "tftp://192.0.2.1:6969/a,b"}}
	m := machine()
	m.Devices = m.Devices[3:]
	var wires []wire
	a := &arguments{plug: func(w wire) int {
		wires = append(wires, w)
		return firstInherited + len(wires) - 1
	}}
	if err := a.machine(h, m, "tcg"); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(a.list, " ")
	const want = "user,id=net0,net=192.0.2.0/24,host=192.0.2.1,dns=192.0.2.2,dhcpstart=192.0.2.100,bootfile=tftp://192.0.2.1:6969/a,,b"
	if !strings.Contains(got, want) || !strings.Contains(got, "virtio-net-pci,netdev=net0,mac=00:a0:98:00:00:01") {
		t.Errorf("%q is missing in\n%s", want, got)
	}
	if last := wires[len(wires)-1]; len(wires) != 4 || last.network != "br20" {
		t.Errorf("the process inherits %+v", wires)
	}
}

func TestManyDrives(t *testing.T) {
	m := machine()
	for range 6 {
		m.Devices = append(m.Devices, sim.MachineDevice{Kind: "DISK", Model: "AHCI", Storage: &memory{data: make([]byte, 512)}})
	}
	got, _, err := line(t, m, "tcg")
	if err != nil || !strings.Contains(got, "ahci,id=ahci1") || !strings.Contains(got, "bus=ahci1.1,") || strings.Contains(got, "bus=ahci0.6") {
		t.Errorf("%v %s", err, got)
	}
}

func TestUnsupportedFeatures(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		with       func(*sim.Machine)
	}{
		{"a TPM", "TPM is not offered", func(m *sim.Machine) { m.TPM = true }},
		{"a passed-through device", "PCI is not offered", func(m *sim.Machine) { m.Devices = []sim.MachineDevice{{Kind: "PCI"}} }},
		{"missing firmware", "install ovmf", func(m *sim.Machine) { m.Firmware, m.SecureBoot = "OVMF_CODE.secboot.fd", true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := machine()
			tt.with(&m)
			if _, _, err := line(t, m, "tcg"); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestFirmwareVariables(t *testing.T) {
	h := bench(t)
	file := filepath.Join(h.firmware, "OVMF_VARS.fd")
	vars, err := h.variables("a", file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vars.WriteAt([]byte("boot"), 0); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4)
	for uuid, want := range map[string]string{"a": "boot", "b": "OVMF"} {
		again, err := h.variables(uuid, file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := again.ReadAt(p, 0); err != nil || string(p) != want {
			t.Errorf("the variables of %s begin with %q, want %q", uuid, p, want)
		}
	}
	if _, err := vars.WriteAt([]byte("beyond"), 8); err == nil {
		t.Error("a write beyond the end succeeds")
	}
}
