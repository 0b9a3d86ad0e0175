package sim

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
)

// bench is a hypervisor that records its calls and behaves as the test requires.
type bench struct {
	refuse error
	during func(Machine) // runs during the boot of a VM
	booted []Machine
	said   []string
}

func (b *bench) Boot(m Machine) (Domain, error) {
	b.booted = append(b.booted, m)
	if b.during != nil {
		b.during(m)
	}
	if b.refuse != nil {
		return nil, b.refuse
	}
	return b, nil
}

func (b *bench) say(what string) { b.said = append(b.said, what) }
func (b *bench) PID() int        { return 77 }
func (b *bench) Press()          { b.say("press") }
func (b *bench) Cut()            { b.say("cut") }
func (b *bench) Reset()          { b.say("reset") }

func (b *bench) Pause(paused bool) {
	b.say(map[bool]string{true: "pause", false: "continue"}[paused])
}

func (b *bench) Interfaces(context.Context) ([]GuestInterface, error) {
	return []GuestInterface{{Name: "enp1", Addresses: []GuestAddress{}}}, nil
}

func (b *bench) Neighbours() map[netip.Addr]string {
	return map[netip.Addr]string{netip.MustParseAddr("192.0.2.7"): "00:a0:98:00:00:01", netip.MustParseAddr("192.0.2.8"): "00:a0:98:00:00:02"}
}

// onBench is a NAS whose VM 1 has a disk, a NIC on a bridge, a macvtap NIC, and a CD-ROM.
func onBench(t *testing.T) (*direct, *bench) {
	t.Helper()
	n, b := newDirect(t, "27"), &bench{}
	n.cfg.Hypervisor = b
	n.cfg.Interfaces = append(n.cfg.Interfaces, Interface{Name: "eno2", Type: "PHYSICAL"})
	n.volume("tank/v", 1<<30, nil)
	seed := n.iso("seed.iso", "the seed")
	id := n.newVM("one", object{"cores": 2, "bootloader": "UEFI", "bootloader_ovmf": "OVMF_CODE_4M.fd", "shutdown_timeout": 5})
	n.device(id, object{"dtype": "NIC", "nic_attach": "br0", "mac": "00:A0:98:00:00:01", "type": "VIRTIO"})
	n.device(id, object{"dtype": "NIC", "nic_attach": "eno2", "mac": "00:a0:98:00:00:02"})
	n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/v", "type": "VIRTIO", "serial": "S1", "logical_sectorsize": 4096})
	n.device(id, object{"dtype": "CDROM", "path": seed})
	return n, b
}

func TestHypervisorGetsTheConfiguration(t *testing.T) {
	n, b := onBench(t)
	n.must(nil, "vm.update", 1, object{"enable_cpu_topology_extension": true})
	n.must(nil, "vm.start", 1)
	m := b.booted[0]
	if !m.TopologyExtension || m.HideKVM {
		t.Errorf("the machine's CPU: %+v", m)
	}
	if m.Name != "one" || m.Cores != 2 || m.Firmware != "OVMF_CODE_4M.fd" || m.UUID == "" || !m.LocalTime {
		t.Errorf("the machine: %+v", m)
	}
	var kinds []string
	for _, d := range m.Devices {
		kinds = append(kinds, d.Kind)
	}
	if !slices.Equal(kinds, []string{"CDROM", "DISK", "NIC", "NIC"}) {
		t.Errorf("in boot order: %v", kinds)
	}
	disk, nic := m.Devices[1], m.Devices[2]
	if disk.Model != "VIRTIO" || disk.Serial == "" || disk.Logical != 4096 || disk.Storage.Size() != 1<<30 {
		t.Errorf("the disk: %+v", disk)
	}
	if nic.MAC != "00:a0:98:00:00:01" || nic.Attach != "br0" || nic.Model != "VIRTIO" {
		t.Errorf("the NIC: %+v", nic)
	}
	var status statusRow
	if n.must(&status, "vm.status", 1); status.PID == nil || *status.PID != 77 {
		t.Errorf("the status: %+v", status)
	}
}

func TestHypervisorHidesKVM(t *testing.T) {
	n, b := onBench(t)
	n.must(nil, "vm.update", 1, object{"hide_from_msr": true})
	n.must(nil, "vm.start", 1)
	if m := b.booted[0]; !m.HideKVM || m.TopologyExtension {
		t.Errorf("the machine's CPU: %+v", m)
	}
}

func TestHypervisorGetsPowerChanges(t *testing.T) {
	n, b := onBench(t)
	for _, method := range []string{"vm.start", "vm.suspend", "vm.resume", "vm.reset", "vm.stop", "vm.poweroff"} {
		n.must(nil, method, 1)
	}
	if want := []string{"pause", "continue", "reset", "press", "cut"}; !slices.Equal(b.said, want) {
		t.Errorf("it got %v, want %v", b.said, want)
	}
	n.must(nil, "vm.start", 1)
	b.booted[0].Off()
	if got := n.state(1); got != running {
		t.Errorf("after the end of an earlier boot it is %s", got)
	}
	b.booted[1].Off()
	if got := n.state(1); got != stopped {
		t.Errorf("after the shutdown of the guest it is %s", got)
	}
	n.must(nil, "vm.start", 1)
	b.said = nil
	n.Close()
	if !slices.Equal(b.said, []string{"cut"}) {
		t.Errorf("at the end it got %v", b.said)
	}
}

func TestHypervisorReportsGuest(t *testing.T) {
	n, _ := onBench(t)
	n.must(nil, "vm.start", 1)
	var nics []GuestInterface
	if n.must(&nics, "vm.get_guest_network_interfaces", 1); len(nics) != 1 || nics[0].Name != "enp1" {
		t.Errorf("the agent: %v", nics)
	}
	table := map[string]string{}
	if n.must(&table, "core.arp", object{}); len(table) != 1 || table["192.0.2.7"] != "00:a0:98:00:00:01" {
		t.Errorf("the NAS reaches no macvtap; its table: %v", table)
	}
}

func TestMachineReadsAndWritesDisks(t *testing.T) {
	n, b := onBench(t)
	if _, err := n.WriteVolume("tank/v", []byte("boot me"), 0); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 7)
	b.during = func(m Machine) { // It reads its disks before its boot completes.
		if _, err := m.Devices[1].Storage.ReadAt(p, 0); err != nil || string(p) != "boot me" {
			t.Errorf("the disk: %q %v", p, err)
		}
	}
	n.must(nil, "vm.start", 1)
	seed, disk := b.booted[0].Devices[0].Storage, b.booted[0].Devices[1].Storage
	if _, err := seed.WriteAt([]byte("no"), 0); !errors.Is(err, errCannotWrite) || !seed.ReadOnly() {
		t.Errorf("write to a CD-ROM: %v", err)
	}
	if _, err := disk.WriteAt([]byte("written"), 1<<30-7); err != nil {
		t.Error(err)
	}
	if _, err := disk.WriteAt([]byte("beyond"), 1<<30-1); err == nil {
		t.Error("a write beyond the end succeeds")
	}
	if _, err := n.ReadVolume("tank/v", p, 1<<30-7); err != nil || string(p) != "written" {
		t.Errorf("the volume: %q %v", p, err)
	}
	n.must(nil, "vm.poweroff", 1)
	if _, err := disk.WriteAt([]byte("late"), 0); !errors.Is(err, errPowerIsOff) {
		t.Errorf("write after the power off: %v", err)
	}
}

func TestFailedBoot(t *testing.T) {
	n, b := onBench(t)
	b.refuse = errors.New("no such firmware")
	n.fails(eINVAL, "no such firmware", "vm.start", 1)
	if got := n.state(1); got != stopped {
		t.Errorf("it is %s", got)
	}
	b.refuse = nil
	b.during = func(Machine) { n.must(nil, "vm.poweroff", 1) }
	n.fails(eINVAL, "the machine is off", "vm.start", 1)
	if !slices.Equal(b.said, []string{"cut"}) {
		t.Errorf("after a power off during the boot it got %v", b.said)
	}
}
