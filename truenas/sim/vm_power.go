package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// domain is a running VM with the configuration of its start. Later changes of its configuration or devices apply at the next
// start.
type domain struct {
	Started time.Time
	Memory  int64          // MiB
	Volumes []string       // open datasets
	Files   []string       // paths of open files
	MACs    map[int]string // by device id, including those generated at the start

	boot    int      // number of the start, over all VMs
	box     Domain   // runs the VM; nil: it runs in memory only
	leaving bool     // the guest is shutting down
	down    []func() // called when it is off
}

// libvirtQEMU is the user that runs the VMs.
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

// powerOff cuts the power, or completes the shutdown of a guest.
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

// domainIn returns the VM whose domain an action on a record affects. Up to 25.10 it must be in one of the states. From 26 on it
// must be active, and the error is an exception that the middleware passes on.
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

// vmStop succeeds after the timeout, whether or not the guest is down.
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
		defer c.job.act()
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

// vmRestart is a job. It stops by force if the guest does not react, and then starts without a check of the memory.
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

// vmStatus does not report the id of a missing VM up to 25.10.
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
