package sim

import "strings"

// SetLibvirt disconnects the middleware from libvirt, or reconnects it. Guests continue to run. Meanwhile the state of every VM
// is ERROR up to 25.10, and STOPPED from 26 on, even for running VMs.
func (s *Sim) SetLibvirt(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.libvirtAway = away
}

// throughLibvirt reports whether a method calls libvirt.
func throughLibvirt(method string) bool {
	switch method {
	case "vm.start", "vm.stop", "vm.poweroff", "vm.restart", "vm.suspend", "vm.resume", "vm.reset", "vm.delete", "vm.get_memory_usage":
		return true
	}
	return false
}

// reaching returns such a method in the form that fails while libvirt is away.
func (s *Sim) reaching(name string, m method) method {
	if s.libvirtAway && throughLibvirt(name) {
		m.run = func(*call) (any, error) { return nil, fail(eFAULT, "Failed to connect to libvirt") }
	}
	return m
}

// seen returns a status as the middleware reports it.
func (c *call) seen(status statusRow) statusRow {
	switch {
	case !c.sim.libvirtAway:
		return status
	case c.release() >= v26:
		return statusRow{State: stopped}
	}
	word := stateError
	return statusRow{State: word, DomainState: &word}
}

// processRow is a process that has a part of a dataset open.
type processRow struct {
	PID     int     `json:"pid"`
	Name    string  `json:"name"`
	Service *string `json:"service"`
	Cmdline *string `json:"cmdline"`
}

// datasetProcesses lists the VMs that have the volume open, or a volume or file below the dataset. TrueNAS queries the kernel and
// not libvirt.
func datasetProcesses(c *call) (any, error) {
	var id string
	if err := c.args([]string{"id"}, &id); err != nil {
		return nil, err
	}
	s := &c.sim.state
	d, err := c.dataset(id)
	if err != nil {
		return nil, err
	}
	rows := []processRow{}
	for _, id := range vmIDs(s.VMs) {
		if m := s.VMs[id]; m.active() && m.holds(d) {
			cmdline := "/usr/bin/qemu-system-x86_64 -name guest=" + m.Config.Name
			rows = append(rows, processRow{PID: m.PID, Name: "qemu-system-x86", Cmdline: &cmdline})
		}
	}
	return rows, nil
}

// holds reports whether a running VM has the dataset or an object below it open.
func (m *vm) holds(d *dataset) bool {
	for _, volume := range m.Domain.Volumes {
		if volume == d.Name || strings.HasPrefix(volume, d.Name+"/") {
			return true
		}
	}
	for _, file := range m.Domain.Files {
		if !d.Volume && isBelow(file, d.mountpoint()) {
			return true
		}
	}
	return false
}
