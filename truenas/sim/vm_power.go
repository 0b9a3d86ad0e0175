package sim

import (
	"context"
	"encoding/json"
	"fmt"
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

// start boots a machine as it is configured now.
func (s *Sim) start(m *vm, overcommit bool) error {
	name := m.Config.Name
	switch m.State {
	case running:
		return fail(eFAULT, "%s is already running", name)
	case suspended:
		return fail(eFAULT, "%s is suspended and can only be resumed or powered off", name)
	}
	if !overcommit && m.Config.Memory > s.freeMemory() {
		return fail(eNOMEM, "Cannot guarantee memory for guest %s", name)
	}
	d := domain{Started: s.clock.Now(), Memory: m.Config.Memory, MACs: map[int]string{}}
	for _, dev := range s.state.devicesOf(m.ID) {
		if err := s.plug(&d, dev); err != nil {
			return err
		}
	}
	s.state.LastPID++
	d.boot = s.state.LastPID
	m.State, m.PID, m.Domain = running, s.state.LastPID, d
	if err := s.boot(m); err != nil {
		return err
	}
	s.tellVM("changed", m, "")
	return nil
}

// plug opens what a device stands for.
func (s *Sim) plug(d *domain, dev *device) error {
	switch dev.DType {
	case "DISK":
		volume := s.state.Datasets[volumeAt(dev.Path)]
		if volume == nil || !volume.Volume {
			return fail(eFAULT, "internal error: process exited while connecting to monitor: Could not open '%s': No such file or directory", dev.Path)
		}
		if value, _, _ := s.state.inherited(volume, "readonly"); value == "on" {
			return fail(eFAULT, "internal error: process exited while connecting to monitor: Could not open '%s': Read-only file system", dev.Path)
		}
		d.Volumes = append(d.Volumes, volume.Name)
	case "CDROM", "RAW":
		f, _ := s.state.file(dev.Path)
		if f == nil || f.Dir {
			return fail(eFAULT, "Cannot access storage file '%s': No such file or directory", dev.Path)
		}
		f.UID, f.GID = libvirtQEMU, libvirtQEMU // it is taken over, whatever its mode
		d.Files = append(d.Files, dev.Path)
	case "NIC":
		if attach := dev.attach(); !s.hasInterface(attach) {
			return fail(eFAULT, "Cannot get interface MTU on '%s': No such device", attach)
		}
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
	m.State, m.PID, m.Domain = stopped, 0, domain{}
	s.tellVM("changed", m, "")
	for _, fn := range down {
		fn()
	}
}

func notActive(m *vm) error {
	return fail(eFAULT, "%d_%s domain is not active", m.ID, m.Config.Name)
}

func vmPoweroff(c *call) (any, error) {
	m, err := c.oneVM()
	if err != nil {
		return nil, err
	}
	if !m.active() {
		return nil, notActive(m)
	}
	c.sim.powerOff(m)
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
	var err error
	var timeout time.Duration
	wait, off := context.WithCancel(c.job.ctx)
	defer off()
	c.locked(func() {
		timeout = time.Duration(m.Config.ShutdownTimeout) * time.Second
		switch {
		case m.State != running && !(o.Force && m.active()):
			err = notActive(m)
		case o.Force:
			c.sim.powerOff(m)
			off()
		default:
			m.Domain.down = append(m.Domain.down, off)
			c.sim.box(m).Press()
		}
	})
	if err != nil {
		return err
	}
	if c.sim.sleep(wait, timeout) != nil && c.job.ctx.Err() != nil {
		return context.Cause(c.job.ctx)
	}
	c.locked(func() {
		if o.ForceAfterTimeout && m.active() && c.sim.state.VMs[m.ID] == m {
			c.sim.powerOff(m)
		}
	})
	return nil
}

// vmRestart stops by force when the guest does not hear, and then starts
// whatever the memory.
func vmRestart(c *call) (any, error) {
	var id int
	if err := c.args([]string{"id"}, &id); err != nil {
		return nil, err
	}
	var m *vm
	var err error
	c.locked(func() { m, err = c.sim.state.vm(id) })
	if err != nil {
		return nil, err
	}
	if err := c.stop(m, stopOptions{ForceAfterTimeout: true}); err != nil {
		return nil, err
	}
	c.locked(func() { err = c.sim.start(m, true) })
	return nil, err
}

func vmSuspend(c *call) (any, error) { return c.toggle(running, suspended) }

func vmResume(c *call) (any, error) { return c.toggle(suspended, running) }

func (c *call) toggle(from, to string) (any, error) {
	m, err := c.oneVM()
	if err != nil {
		return nil, err
	}
	if m.State != from {
		return nil, fail(eFAULT, "VM %s is %s and not %s", m.Config.Name, m.State, from)
	}
	m.State = to
	c.sim.box(m).Pause(to == suspended)
	c.sim.tellVM("changed", m, "")
	return nil, nil
}

// vmReset presses the reset button.
func vmReset(c *call) (any, error) {
	m, err := c.oneVM()
	if err != nil {
		return nil, err
	}
	if !m.active() {
		return nil, notActive(m)
	}
	m.Domain.Started = c.now()
	c.sim.box(m).Reset()
	return nil, nil
}

func vmStatus(c *call) (any, error) {
	m, err := c.oneVM()
	if err != nil {
		return nil, err
	}
	return c.seen(m.status(c.release())), nil
}
