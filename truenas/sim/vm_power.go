package sim

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// domain is a running machine: what it was when it was started. Changes of its
// configuration or devices are not part of it until the next start.
type domain struct {
	Started time.Time
	Memory  int64          // MiB
	Volumes []string       // datasets that are open
	Files   []string       // paths that are open
	MACs    map[int]string // by device id, those made up at the start included

	boot    int      // numbers the starts of all machines
	box     Domain   // what runs it; nil: it runs in memory only
	leaving bool     // the guest is shutting down
	down    []func() // called when it is off
}

// libvirtQEMU is the user that machines run as.
const libvirtQEMU = 986

func lockByVM(prefix string) func(*call) string {
	return func(c *call) string {
		var id int
		if len(c.params) > 0 && json.Unmarshal(c.params[0], &id) == nil {
			return fmt.Sprint(prefix, id)
		}
		return prefix
	}
}

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

// start boots a machine as it is configured now. The order of the checks is
// the middleware's: memory comes before devices up to 25.10, and after them from
// 26 on.
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
		d.Undefined = true // It was removed to be defined again.
		return fail(eFAULT, "%v", err)
	}
	return s.run(d)
}

// startable refuses a machine that is on.
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

// domainToStart is the machine whose domain is started for a record, up to
// 25.10. Where there is no domain, one is defined of the first machine that has
// the name.
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

// devicesThere refuses a machine one of whose devices is missing on the NAS.
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

// available says what a device stands for, and whether that is there.
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

// run lets libvirt start the domain of a machine.
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
	m.LogBytes += logStart // before QEMU is started, even when QEMU fails
	if err := s.boot(m); err != nil {
		return err
	}
	m.HasRun = true
	s.emitStarted(m)
	return nil
}

// plug opens what a device stands for.
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
		f.UID, f.GID = libvirtQEMU, libvirtQEMU // it is taken over, whatever its mode
		d.Files = append(d.Files, dev.Path)
	case "NIC":
		d.MACs[dev.ID] = dev.mac()
		if d.MACs[dev.ID] == "" {
			d.MACs[dev.ID] = s.state.mac()
		}
	}
	return nil
}

// freeMemory is what guests can still be promised, in MiB.
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

// powerOff cuts the power, or is what happens when a guest has shut down.
func (s *Sim) powerOff(m *vm) {
	s.box(m).Cut()
	down := m.Domain.down
	m.LogBytes += logStop
	m.State, m.PID, m.Domain = stopped, 0, domain{}
	s.emitStopped(m)
	for _, fn := range down {
		fn()
	}
}

// domainIn is the machine whose domain an action on a record goes to. Up to
// 25.10 it must be in one of the states. From 26 on it must be active, and the
// complaint is an exception that the middleware passes on.
func (c *call) domainIn(m *vm, states ...string) (*vm, error) {
	d := c.sim.state.domainOf(m, c.release())
	name := m.Config.Name
	switch {
	case c.release() >= v26 && d == nil:
		return nil, uncaught("DomainDoesNotExistError", "Domain '%s' does not exist", name)
	case c.release() >= v26 && !d.active():
		return nil, uncaught("Error", "Domain '%s' is not active", name)
	case c.release() >= v26:
		return d, nil
	case d == nil:
		return nil, fail(eFAULT, "Libvirt Domain for %s does not exist", name)
	case !slices.Contains(states, d.State):
		return nil, fail(eFAULT, "VM state is currently not '%s'", strings.Join(states, " / "))
	}
	return d, nil
}

func vmPoweroff(c *call) (any, error) {
	m, err := c.oneVM()
	if err != nil {
		return nil, err
	}
	d, err := c.domainIn(m, running, suspended)
	if err != nil {
		return nil, err
	}
	c.sim.powerOff(d)
	return nil, nil
}

type stopOptions struct {
	Force             bool `json:"force"`
	ForceAfterTimeout bool `json:"force_after_timeout"`
}

// vmStop succeeds when the time is over, whether or not the guest is down.
func vmStop(c *call) (any, error) {
	var id int
	var o stopOptions
	if err := c.args([]string{"id", "options"}, &id, &o); err != nil {
		return nil, err
	}
	var m *vm
	var err error
	c.locked(func() { m, err = c.sim.state.vm(id) })
	if err != nil {
		return nil, err
	}
	return nil, c.stop(m, o)
}

func (c *call) stop(m *vm, o stopOptions) error {
	wait, off := context.WithCancel(c.job.ctx)
	defer off()
	var d *vm
	var err error
	var timeout time.Duration
	c.locked(func() {
		if o.Force {
			if d, err = c.domainIn(m, running, suspended); err == nil {
				c.sim.powerOff(d)
			}
			return
		}
		if d, err = c.domainIn(m, running); err == nil && d.State == running {
			timeout = time.Duration(m.Config.ShutdownTimeout) * time.Second
			d.Domain.down = append(d.Domain.down, off)
			c.sim.box(d).Press()
		}
	})
	if err != nil {
		return err
	}
	if c.sim.sleep(wait, timeout) != nil && c.job.ctx.Err() != nil {
		return context.Cause(c.job.ctx)
	}
	c.locked(func() {
		if o.ForceAfterTimeout && d.State == running && c.sim.state.VMs[d.ID] == d {
			c.sim.powerOff(d)
		}
	})
	return nil
}

// vmRestart stops by force when the guest does not hear, in a job of its own,
// and then starts whatever the memory.
func vmRestart(c *call) (any, error) {
	var id int
	if err := c.args([]string{"id"}, &id); err != nil {
		return nil, err
	}
	var m *vm
	var stop *job
	var err error
	c.locked(func() {
		if m, err = c.sim.state.vm(id); err == nil {
			stop, err = c.sim.startJob(&call{
				sim: c.sim, session: c.session, method: "vm.stop",
				params: []json.RawMessage{c.params[0], json.RawMessage(`{"force_after_timeout": true}`)},
			}, c.sim.methods["vm.stop"])
		}
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-stop.done:
	case <-c.job.ctx.Done():
		return nil, context.Cause(c.job.ctx)
	}
	c.locked(func() {
		if stop.err != nil {
			err = fail(eFAULT, "Failed to stop '%s' vm: %v", m.Config.Name, stop.err)
			return
		}
		err = c.sim.start(m, true)
	})
	return nil, err
}

func vmSuspend(c *call) (any, error) {
	m, err := c.oneVM()
	if err != nil {
		return nil, err
	}
	d, err := c.domainIn(m, running)
	if err != nil || d.State == suspended {
		return nil, err
	}
	c.pause(d, suspended)
	return nil, nil
}

func vmResume(c *call) (any, error) {
	m, err := c.oneVM()
	if err != nil {
		return nil, err
	}
	d := c.sim.state.domainOf(m, c.release())
	if c.release() <= v25_10 {
		d, err = c.domainIn(m, suspended)
	} else if d == nil {
		err = uncaught("DomainDoesNotExistError", "Domain '%s' does not exist", m.Config.Name)
	} else if d.State != suspended {
		err = uncaught("Error", "Domain '%s' is not suspended", m.Config.Name)
	}
	if err != nil {
		return nil, err
	}
	c.pause(d, running)
	return nil, nil
}

func (c *call) pause(d *vm, state string) {
	d.State = state
	c.sim.box(d).Pause(state == suspended)
	c.sim.emitPaused(d)
}

// vmReset presses the reset button.
func vmReset(c *call) (any, error) {
	m, err := c.oneVM()
	if err != nil {
		return nil, err
	}
	d, err := c.domainIn(m)
	if err != nil {
		return nil, err
	}
	d.Domain.Started = c.now()
	c.sim.box(d).Reset()
	return nil, nil
}

// vmStatus does not say up to 25.10 which machine is missing.
func vmStatus(c *call) (any, error) {
	var id int
	if err := c.args([]string{"id"}, &id); err != nil {
		return nil, err
	}
	m, err := c.sim.state.vm(id)
	if err != nil && c.release() <= v25_10 {
		return nil, matchNotFound()
	}
	if err != nil {
		return nil, err
	}
	return c.seen(c.sim.state.statusOf(m, c.release())), nil
}
