package sim

import (
	"errors"
	"fmt"
	"io"
)

// boot starts a checked VM on the hypervisor. It releases the lock meanwhile, so another call may power the VM off before it
// runs.
func (s *Sim) boot(m *vm) error {
	if s.cfg.Hypervisor == nil {
		return nil
	}
	on := s.sameBoot(m)
	machine := s.machine(m, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if on() {
			s.powerOff(m)
		}
	})
	s.mu.Unlock()
	box, err := s.cfg.Hypervisor.Boot(machine)
	s.mu.Lock()
	if err == nil && (s.closed || !on()) {
		box.Cut()
		err = errPowerIsOff
	}
	if err != nil {
		if on() {
			s.powerOff(m)
		}
		text := fmt.Sprintf("internal error: process exited while connecting to monitor: %v", err)
		if s.release >= v26 {
			return libvirtError("%s", text)
		}
		return fail(eFAULT, "%s", text)
	}
	m.Domain.box = box
	if pid := box.PID(); pid > 0 {
		m.PID = pid
	}
	return nil
}

// sameBoot returns a function that reports whether a VM is still on since its
// current start. The lock must be held for both.
func (s *Sim) sameBoot(m *vm) func() bool {
	boot := m.Domain.boot
	return func() bool { return s.state.VMs[m.ID] == m && m.active() && m.Domain.boot == boot }
}

// machine describes a VM with its open volumes and files.
func (s *Sim) machine(m *vm, off func()) Machine {
	c := m.Config
	out := Machine{
		ID: m.ID, Name: c.Name, UUID: *c.UUID, Sockets: c.VCPUs, Cores: c.Cores, Threads: c.Threads, MemoryMiB: c.Memory,
		CPUMode: c.CPUMode, CPUModel: orElse(c.CPUModel, ""), MachineType: orElse(c.MachineType, ""),
		TopologyExtension: c.CPUTopologyExtension, HideKVM: c.HideFromMSR, SecureBoot: c.SecureBoot, TPM: c.TPM, LocalTime: c.Time == "LOCAL", Off: off,
	}
	if c.Bootloader == "UEFI" {
		out.Firmware = orElse(c.OVMF, "OVMF_CODE.fd")
	}
	for _, d := range s.state.devicesOf(m.ID) {
		out.Devices = append(out.Devices, s.machineDevice(m, d))
	}
	return out
}

func (s *Sim) machineDevice(m *vm, d *device) MachineDevice {
	out := MachineDevice{Kind: d.DType, Model: d.text("type"), Serial: d.text("serial"), Attach: d.attach(), MAC: m.Domain.MACs[d.ID]}
	logical, _ := d.Attributes["logical_sectorsize"].(float64)
	physical, _ := d.Attributes["physical_sectorsize"].(float64)
	out.Logical, out.Physical = int(logical), int(physical)
	switch d.DType {
	case "DISK":
		volume := s.state.Datasets[volumeAt(d.Path)]
		out.Storage = &medium{sim: s, in: volume, data: &volume.Data, size: volume.Size, on: s.sameBoot(m)}
	case "CDROM", "RAW":
		f, in := s.state.file(d.Path)
		out.Storage = &medium{sim: s, in: in, data: &f.Data, size: f.Size, readOnly: d.DType == "CDROM", on: s.sameBoot(m)}
	}
	return out
}

// medium is an open volume or file of a VM.
type medium struct {
	sim      *Sim
	in       *dataset
	data     *contents
	size     int64
	readOnly bool
	on       func() bool // reports whether the VM is still on
}

var (
	errPowerIsOff  = errors.New("the machine is off")
	errCannotWrite = errors.New("a CD-ROM cannot be written to")
)

func (o *medium) Size() int64    { return o.size }
func (o *medium) ReadOnly() bool { return o.readOnly }

func (o *medium) check(n int, off int64) error {
	switch {
	case !o.on():
		return errPowerIsOff
	case off < 0 || off+int64(n) > o.size:
		return fmt.Errorf("%d bytes at %d are not within %d", n, off, o.size)
	}
	return nil
}

// ReadAt reads all of p or nothing, as a disk does.
func (o *medium) ReadAt(p []byte, off int64) (int, error) {
	o.sim.mu.Lock()
	defer o.sim.mu.Unlock()
	if err := o.check(len(p), off); err != nil {
		return 0, errors.Join(err, io.ErrUnexpectedEOF)
	}
	o.data.readAt(p, off)
	return len(p), nil
}

// WriteAt writes all of p or nothing.
func (o *medium) WriteAt(p []byte, off int64) (int, error) {
	o.sim.mu.Lock()
	defer o.sim.mu.Unlock()
	if err := o.check(len(p), off); err != nil {
		return 0, err
	}
	if o.readOnly {
		return 0, errCannotWrite
	}
	o.data.writeAt(p, off)
	o.sim.state.touch(o.in)
	return len(p), nil
}

// switchOff stops the VMs of a hypervisor: after Load they have no processes, and after Close they must have none.
func (s *Sim) switchOff() {
	if s.cfg.Hypervisor == nil {
		return
	}
	for _, id := range vmIDs(s.state.VMs) {
		if m := s.state.VMs[id]; m.active() {
			s.box(m).Cut()
			m.State, m.PID, m.Domain = stopped, 0, domain{}
		}
	}
}

func orElse(text *string, other string) string {
	if text == nil {
		return other
	}
	return *text
}
