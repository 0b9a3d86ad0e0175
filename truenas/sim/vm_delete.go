package sim

import (
	"fmt"
	"strings"
	"time"
)

// graceAfterPowerOff is how long vm.delete of a running machine waits, up to
// 25.10, between the power off and everything else.
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
	if m.active() {
		if err := c.stopToDelete(m, o.Force); err != nil {
			return nil, err
		}
		// Others went on during the wait, so look again.
		if m, err = c.sim.state.vm(id); err != nil {
			return nil, err
		}
	}
	if err := c.deleteVM(m, o.Zvols, o.Force); err != nil {
		return nil, err
	}
	if c.release() >= v26 {
		return nil, nil
	}
	return true, nil
}

func (c *call) stopToDelete(m *vm, force bool) error {
	if c.release() >= v26 {
		if !force {
			return fail(eBUSY, "VM %s is active; stop it or use force", m.Config.Name)
		}
		c.sim.powerOff(m)
		return nil
	}
	c.sim.powerOff(m)
	c.sim.mu.Unlock()
	err := c.sim.sleep(c.sim.ctx, graceAfterPowerOff)
	c.sim.mu.Lock()
	return err
}

// deleteVM removes a machine. Its volumes go first: when one cannot, the
// machine stays, and so do those volumes that have not gone yet.
func (c *call) deleteVM(m *vm, zvols, force bool) error {
	s := &c.sim.state
	devices := s.devicesOf(m.ID)
	for _, d := range devices {
		if !zvols || d.DType != "DISK" {
			continue
		}
		if err := s.destroyVolume(volumeAt(d.Path)); err != nil && !force {
			return err
		}
	}
	for _, d := range devices {
		delete(s.Devices, d.ID)
	}
	delete(s.VMs, m.ID)
	c.sim.tellGone(m.ID)
	return nil
}

// vmClone makes linked clones of the volumes and answers true, not the machine.
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
	if err := c.checkVM("vm_create", &config, 0); err != nil {
		return nil, err
	}
	twin := c.sim.addVM(config)
	var made []string // snapshots and clones, in the order they were made
	for _, d := range s.devicesOf(id) {
		if err := c.cloneDevice(d, twin, &made); err != nil {
			c.undoClone(twin, made)
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

func (c *call) cloneDevice(d *device, twin *vm, made *[]string) error {
	s := &c.sim.state
	if d.DType == "RAW" {
		return nil // raw files are not cloned
	}
	e := &device{VM: twin.ID, DType: d.DType, Attributes: map[string]any{}}
	for k, v := range d.Attributes {
		e.Attributes[k] = v
	}
	switch d.DType {
	case "NIC":
		e.Attributes["mac"] = s.mac()
	case "DISPLAY":
		e.Attributes["port"], e.Attributes["web_port"] = nil, nil
	case "DISK":
		volume := s.Datasets[volumeAt(d.Path)]
		if volume == nil {
			return fail(eNOENT, "zvol %s does not exist.", volumeAt(d.Path))
		}
		taken, err := c.takeSnapshot(volume.Name, s.freeSnapshot(volume.Name, twin.Config.Name), false, nil)
		if err != nil {
			return err
		}
		n := taken[0]
		*made = append(*made, n.id())
		dst := volume.Name + "_" + twin.Config.Name
		if s.Datasets[dst] != nil {
			return alreadyThere(c.release(), "Failed to clone snapshot: cannot create '%s': dataset already exists", dst)
		}
		*made = append(*made, s.clone(n, dst, c.now()).Name)
		e.Attributes["path"], e.Attributes["serial"] = volumePath(dst), nil
	}
	if err := c.checkDevice(e, twin, nil); err != nil {
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
	free := name
	for i := 0; s.Snapshots[dataset+"@"+free] != nil; i++ {
		free = fmt.Sprintf("%s%d", name, i)
	}
	return free
}

func (c *call) undoClone(twin *vm, made []string) {
	s := &c.sim.state
	for _, d := range s.devicesOf(twin.ID) {
		delete(s.Devices, d.ID)
	}
	for i := len(made) - 1; i >= 0; i-- {
		if strings.Contains(made[i], "@") {
			s.drop(s.Snapshots[made[i]])
		} else {
			s.remove(s.Datasets[made[i]])
		}
	}
	delete(s.VMs, twin.ID)
	c.sim.tellGone(twin.ID)
}
