package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

func vmStart(c *call) (any, error) {
	var id int
	var o struct {
		Overcommit bool `json:"overcommit"`
	}
	if err := c.args([]string{"id", "options"}, &id, &o); err != nil {
		return nil, err
	}
	m, err := c.sim.state.vm(id)
	if err != nil {
		return nil, err
	}
	return nil, c.sim.start(m, o.Overcommit)
}

// start boots a VM with its current configuration. The order of the checks is the middleware's: memory comes before devices up to
// 25.10, and after them from 26 on.
func (s *Sim) start(m *vm, overcommit bool) error {
	if err := s.startable(m); err != nil {
		return err
	}
	enough := func() error {
		if !overcommit && m.Config.Memory > s.freeMemory() {
			return fail(eNOMEM, "Cannot guarantee memory for guest %s", m.Config.Name)
		}
		return nil
	}
	if s.release >= v26 {
		if err := cmp.Or(s.devicesThere(m), s.hostDevicesFree(m)); err != nil {
			return err
		}
		if err := enough(); err != nil {
			return err
		}
		if err := s.definable(m); err != nil {
			return err
		}
		return s.run(m)
	}
	if err := enough(); err != nil {
		return err
	}
	d, err := s.domainToStart(m)
	if err != nil {
		return err
	}
	if err := cmp.Or(s.hostDevicesFree(d), s.devicesThere(d)); err != nil {
		return err
	}
	if err := s.definable(d); err != nil {
		d.Undefined = true // The domain was removed to be defined again.
		return fail(eFAULT, "%v", err)
	}
	return s.run(d)
}

// startable refuses a VM that is on.
func (s *Sim) startable(m *vm) error {
	d := s.state.domainOf(m, s.release)
	name := m.Config.Name
	switch {
	case d == nil || !d.active():
		return nil
	case s.release >= v26:
		return fail(eFAULT, "VM '%s' is already running", name)
	case d.State == suspended:
		return fail(eFAULT, "'%s' VM is suspended and can only be resumed/powered off", name)
	}
	return fail(eFAULT, "'%s' is already running", name)
}

// domainToStart returns the VM whose domain is started for a record, up to 25.10. Without a domain, it defines one for the first
// VM with the name.
func (s *Sim) domainToStart(m *vm) (*vm, error) {
	if d := s.state.domainOf(m, s.release); d != nil {
		return d, nil
	}
	first := s.state.vmNamed(m.Config.Name)
	if err := s.watch(first); err != nil {
		return nil, fail(eFAULT, "Unable to define domain for %s: %v", m.Config.Name, err)
	}
	return first, nil
}

// devicesThere refuses a VM with a device that is missing on the NAS.
func (s *Sim) devicesThere(m *vm) error {
	var missing []string
	for _, d := range s.state.devicesOf(m.ID) {
		if identity, there := s.available(d); !there {
			missing = append(missing, identity)
			if s.release <= v25_10 {
				missing[len(missing)-1] = d.DType + " Device: " + identity
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if s.release <= v25_10 {
		return fail(eFAULT, "VM will not start as %s device(s) are not available.", strings.Join(missing, ", "))
	}
	text := ""
	for _, identity := range missing {
		text += fmt.Sprintf("\ndevice.%s: Device %s is not available", identity, identity)
	}
	return fail(eFAULT, "Cannot start domain '%s':%s", m.Config.Name, text)
}

// available returns the object that a device represents, and whether it exists.
func (s *Sim) available(d *device) (identity string, there bool) {
	switch d.DType {
	case "DISK":
		volume := s.state.Datasets[volumeAt(d.Path)]
		return d.Path, volume != nil && volume.Volume && !s.state.locked(volume)
	case "CDROM", "RAW":
		f, _ := s.state.file(d.Path)
		return d.Path, f != nil
	case "NIC":
		return d.attach(), s.hasInterface(d.attach())
	case "PCI":
		return d.text("pptdev"), slices.ContainsFunc(s.cfg.PCI, func(p PCIDevice) bool { return p.name() == d.text("pptdev") && !p.Critical })
	case "USB":
		ids, _ := d.Attributes["usb"].(map[string]any)
		return hostIdentity(d), slices.ContainsFunc(s.cfg.USB, func(u USBDevice) bool {
			return u.Name == d.text("device") || ids != nil && u.VendorID == ids["vendor_id"] && u.ProductID == ids["product_id"]
		})
	}
	return "", true
}

// run makes libvirt start the domain of a VM.
func (s *Sim) run(m *vm) error {
	d := domain{Started: s.clock.Now(), Memory: m.Config.Memory, MACs: map[int]string{}}
	for _, dev := range s.state.devicesOf(m.ID) {
		if err := s.plug(&d, dev); err != nil {
			if s.release >= v26 {
				return libvirtError("%v", err)
			}
			return fail(eFAULT, "%v", err)
		}
	}
	s.state.LastPID++
	d.boot = s.state.LastPID
	m.State, m.PID, m.Domain = running, s.state.LastPID, d
	m.LogBytes += logStart // before the start of QEMU, even if QEMU fails
	if err := s.boot(m); err != nil {
		return err
	}
	m.HasRun = true
	s.emitStarted(m)
	return nil
}

// plug opens the object that a device represents.
func (s *Sim) plug(d *domain, dev *device) error {
	switch dev.DType {
	case "DISK":
		volume := s.state.Datasets[volumeAt(dev.Path)]
		if value, _, _ := s.state.inherited(volume, "readonly"); value == "on" {
			return fmt.Errorf("internal error: process exited while connecting to monitor: Could not open '%s': Read-only file system", dev.Path)
		}
		d.Volumes = append(d.Volumes, volume.Name)
	case "CDROM", "RAW":
		f, _ := s.state.file(dev.Path)
		if f.Dir {
			return fmt.Errorf("internal error: process exited while connecting to monitor: '%s' is a directory", dev.Path)
		}
		f.UID, f.GID = libvirtQEMU, libvirtQEMU // libvirt takes the file over, whatever its mode
		d.Files = append(d.Files, dev.Path)
	case "NIC":
		d.MACs[dev.ID] = dev.mac()
		if d.MACs[dev.ID] == "" {
			d.MACs[dev.ID] = s.state.mac()
		}
	}
	return nil
}

// freeMemory returns the memory in MiB that guests can still reserve.
func (s *Sim) freeMemory() int64 { return s.cfg.MemoryBytes>>20 - s.memoryInUse() }

func (s *Sim) memoryInUse() int64 {
	n := int64(0)
	for _, m := range s.state.VMs {
		if m.active() {
			n += m.Domain.Memory
		}
	}
	return n
}
