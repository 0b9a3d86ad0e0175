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

// appearsActive reports whether the middleware takes a VM for running or suspended. It takes none for that while libvirt is away.
func (s *Sim) appearsActive(m *vm) bool {
	d := s.state.domainOf(m, s.release)
	return !s.libvirtAway && d != nil && d.active()
}

// processRow is a process that has a part of a dataset open.
type processRow struct {
	PID     int     `json:"pid"`
	Name    string  `json:"name"`
	Service *string `json:"service"`
	Cmdline *string `json:"cmdline"`
}

// datasetProcesses lists the VMs that have the volume open, or for a file system a volume below it or a file in it. It misses
// files in file systems below it, which are devices of their own. TrueNAS queries the kernel and not libvirt.
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
		if m := s.VMs[id]; m.active() && s.opens(m, d) {
			cmdline := "/usr/bin/qemu-system-x86_64 -name guest=" + m.Config.Name
			rows = append(rows, processRow{PID: m.PID, Name: "qemu-system-x86", Cmdline: &cmdline})
		}
	}
	return rows, nil
}

// opens reports whether a running VM has the volume open, a volume below the file system, or a file in it.
func (s *state) opens(m *vm, d *dataset) bool {
	for _, volume := range m.Domain.Volumes {
		if volume == d.Name || strings.HasPrefix(volume, d.Name+"/") {
			return true
		}
	}
	for _, file := range m.Domain.Files {
		if in, _ := s.locate(file); in == d {
			return true
		}
	}
	return false
}
