package sim

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// graceAfterPowerOff is how long vm.delete of a running VM waits after the power off, up to 25.10.
const graceAfterPowerOff = 7 * time.Second

func vmDelete(c *call) (any, error) {
	var id int
	var o struct {
		Zvols bool `json:"zvols"`
		Force bool `json:"force"`
	}
	if err := c.args([]string{"id", "options"}, &id, &o); err != nil {
		return nil, err
	}
	m, err := c.sim.state.vm(id)
	if err != nil {
		return nil, err
	}
	if err := c.offToDelete(m, o.Force); err != nil {
		return nil, err
	}
	// Other calls ran during the wait, so read the VM again.
	if m, err = c.sim.state.vm(id); err != nil {
		return nil, err
	}
	if err := c.deleteVM(m, o.Zvols, o.Force); err != nil {
		return nil, err
	}
	if c.release() >= v26 {
		return nil, nil
	}
	return true, nil
}

// offToDelete powers off the domain of a VM's record, which may be that of another VM. Force is necessary from 26 on for an
// active VM, and up to 25.10 for the state ERROR.
func (c *call) offToDelete(m *vm, force bool) error {
	d := c.sim.state.domainOf(m, c.release())
	switch {
	case d == nil && c.release() <= v25_10 && !force:
		return fail(eFAULT, "Unable to retrieve VM status. Failed to destroy VM")
	case d == nil || !d.active():
		return nil
	case c.release() >= v26 && !force:
		return fail(eBUSY, "'%s' is %s; stop the VM first or pass force to delete it.", m.Config.Name, strings.ToLower(d.State))
	}
	c.sim.powerOff(d)
	c.sim.mu.Unlock()
	err := c.sim.sleep(c.sim.ctx, graceAfterPowerOff)
	c.sim.mu.Lock()
	return err
}

// deleteVM removes a VM. Up to 25.10 it removes the volumes first and then the domain. If a volume cannot be removed, the VM and
// the remaining volumes stay.
func (c *call) deleteVM(m *vm, zvols, force bool) error {
	s := &c.sim.state
	if c.release() >= v26 {
		c.undefine(m)
	}
	devices := s.devicesOf(m.ID)
	for _, d := range devices {
		if !zvols || d.DType != "DISK" {
			continue
		}
		if err := c.destroyVolume(volumeAt(d.Path)); err != nil && !force {
			return err
		}
	}
	if c.release() <= v25_10 {
		c.undefine(m)
	}
	for _, d := range devices {
		c.removeDevice(d)
	}
	c.sim.removeVM(m)
	c.sim.emitRecord("vm.query", "removed", m.ID, nil)
	return nil
}

// undefine removes the domain of a VM's record. Clients see its event only if the record still exists when the middleware handles
// it, which is while devices remain to be deleted.
func (c *call) undefine(m *vm) {
	d := c.sim.state.domainOf(m, c.release())
	c.sim.unwatch(m)
	if c.release() >= v26 && d != nil {
		d.HasRun = false
	}
	if d != nil && (d != m || len(c.sim.state.devicesOf(m.ID)) > 0) {
		c.sim.emitDomain("changed", d, "RUNNING")
	}
}

// removeVM removes a record.
func (s *Sim) removeVM(m *vm) {
	s.state.delist(m)
	delete(s.state.VMs, m.ID)
}

// vmClone makes linked clones of the volumes and returns true instead of the VM.
func vmClone(c *call) (any, error) {
	var id int
	var given any
	if err := c.args([]string{"id", "name?"}, &id, &given); err != nil {
		return nil, err
	}
	s := &c.sim.state
	m, err := s.vm(id)
	if err != nil {
		return nil, err
	}
	config := m.Config
	config.Name = s.cloneName(m.Config.Name)
	switch name := given.(type) {
	case nil:
	case string:
		config.Name = name
	default:
		var v invalid
		v.add("name", eINVAL, "Input should be a valid string")
		return nil, v
	}
	fresh := s.uuid()
	config.UUID = &fresh
	if err := c.checkNewVM(&config); err != nil {
		return nil, err
	}
	copied, err := c.sim.addVM(config)
	if err != nil {
		return nil, err
	}
	var made []string // snapshots and clones, in the order of creation
	devices := s.devicesOf(id)
	slices.SortFunc(devices, func(a, b *device) int { return a.ID - b.ID })
	for _, d := range devices {
		if err := c.cloneDevice(d, copied, &made); err != nil {
			c.undoClone(copied, made)
			return nil, err
		}
	}
	return true, nil
}

func (s *state) cloneName(name string) string {
	for i := 0; ; i++ {
		if next := fmt.Sprintf("%s_clone%d", name, i); s.vmNamed(next) == nil {
			return next
		}
	}
}

func (c *call) cloneDevice(d *device, copied *vm, made *[]string) error {
	s := &c.sim.state
	if d.DType == "RAW" {
		return nil // raw files are not cloned
	}
	e := &device{VM: copied.ID, DType: d.DType, Attributes: map[string]any{}}
	for k, v := range d.Attributes {
		e.Attributes[k] = v
	}
	switch d.DType {
	case "NIC":
		e.Attributes["mac"] = nil // From 26 on the clone gets a new MAC.
	case "DISPLAY":
		e.Attributes["port"], e.Attributes["web_port"] = nil, nil
	case "DISK":
		volume := s.Datasets[volumeAt(d.Path)]
		if volume == nil {
			return fail(eNOENT, "zvol %s does not exist.", volumeAt(d.Path))
		}
		taken, err := c.takeSnapshot(volume.Name, s.freeSnapshot(volume.Name, copied.Config.Name), false, nil)
		if err != nil {
			return err
		}
		n := taken[0]
		*made = append(*made, n.id())
		dst := volume.Name + "_" + freeName(copied.Config.Name, func(name string) bool { return s.Datasets[volume.Name+"_"+name] != nil })
		*made = append(*made, s.clone(n, dst, c.now()).Name)
		e.Attributes["path"], e.Attributes["serial"] = volumePath(dst), nil
	}
	if err := c.checkDevice(e, copied, nil); err != nil {
		return err
	}
	if err := c.makeReal(e); err != nil {
		return err
	}
	order := d.Order
	c.insert(e, &order)
	return nil
}

func (s *state) freeSnapshot(dataset, name string) string {
	return freeName(name, func(name string) bool { return s.Snapshots[dataset+"@"+name] != nil })
}

var cloneSuffix = regexp.MustCompile(`^(.*)_clone\d+$`)

// freeName returns the name, or the name with the first free number.
func freeName(name string, taken func(string) bool) string {
	free := name
	for i := 0; taken(free); i++ {
		base := name
		if m := cloneSuffix.FindStringSubmatch(free); m != nil {
			base = m[1]
		}
		free = fmt.Sprintf("%s_clone%d", base, i)
	}
	return free
}

// undoClone removes the cloned volumes. Up to 25.10 the new VM remains, with the devices that it has so far.
func (c *call) undoClone(copied *vm, made []string) {
	s := &c.sim.state
	for i := len(made) - 1; i >= 0; i-- {
		if strings.Contains(made[i], "@") {
			s.drop(s.Snapshots[made[i]])
		} else {
			s.remove(s.Datasets[made[i]])
		}
	}
	if c.release() >= v26 {
		_ = c.deleteVM(copied, false, true) // cannot fail without volumes
	}
}
