package sim

import "slices"

// Libvirt's view of a VM.
//
// Up to 25.10 libvirt has a domain for every VM from vm.create on, and the
// middleware stores the domains that it watches by VM name. Names are unique
// only without concurrent creates, so two records may share one domain. A VM
// without a watched domain has the state ERROR.
//
// From 26 on libvirt gets a domain at the first start of a VM, and identifies
// it by the UUID, which is not guaranteed to be unique.

// domainOf returns the VM whose domain is that of m's record, or nil. It may be another VM than m.
func (s *state) domainOf(m *vm, r release) *vm {
	if r <= v25_10 {
		if d := s.VMs[s.Watched[m.Config.Name]]; d != nil && !d.Undefined {
			return d
		}
		return nil
	}
	for _, id := range s.byUUID[*m.Config.UUID] {
		if d := s.VMs[id]; d.active() || d.HasRun {
			return d
		}
	}
	return nil
}

// statusOf returns the status of a VM in vm.query.
func (s *state) statusOf(m *vm, r release) statusRow {
	switch d := s.domainOf(m, r); {
	case d != nil:
		return d.status()
	case r <= v25_10:
		word := stateError
		return statusRow{State: stateError, DomainState: &word}
	}
	return statusRow{State: stopped}
}

// watch defines the domain of a VM, unless it exists. It fails if libvirt refuses the definition.
func (s *Sim) watch(m *vm) error {
	if s.release > v25_10 {
		return nil
	}
	if err := s.definable(m); err != nil {
		return err
	}
	m.Undefined = false
	s.state.Watched[m.Config.Name] = m.ID
	return nil
}

// definable reports whether libvirt accepts the definition of a VM. It refuses a UUID that a domain of another name has, and
// multicast MAC addresses. From 26 on the name of a domain is the UUID.
func (s *Sim) definable(m *vm) error {
	for _, id := range s.state.byUUID[*m.Config.UUID] {
		if other := s.state.VMs[id]; s.release <= v25_10 && id != m.ID && !other.Undefined {
			return libvirtError("operation failed: domain '%d_%s' is already defined with uuid %s", other.ID, other.Config.Name, *m.Config.UUID)
		}
	}
	for _, d := range s.state.devicesOf(m.ID) {
		if mac := d.mac(); d.DType == "NIC" && groupAddress(mac) {
			return libvirtError("XML error: expected unicast mac address, found multicast '%s'", mac)
		}
	}
	return nil
}

// groupAddress reports whether a MAC address is multicast or broadcast: the lowest bit of the first byte is set.
func groupAddress(mac string) bool {
	return len(mac) > 1 && slices.Contains([]byte("13579bdf"), mac[1])
}

// unwatch stops watching the domain of a VM's name, and removes that domain. It may be that of another VM.
func (s *Sim) unwatch(m *vm) {
	if s.release > v25_10 {
		return
	}
	d := s.state.domainOf(m, s.release)
	delete(s.state.Watched, m.Config.Name)
	if d != nil {
		d.Undefined = true
	}
}

// rewatch runs at the start of the middleware. It defines a domain for every VM, in order, except where libvirt refuses.
func (s *Sim) rewatch() {
	s.state.Watched = map[string]int{}
	for _, id := range vmIDs(s.state.VMs) {
		if m := s.state.VMs[id]; s.state.Watched[m.Config.Name] == 0 && s.watch(m) != nil {
			m.Undefined = true // The middleware logs the failure and continues.
		}
	}
}

// libvirtError is an exception of libvirt that the middleware passes on.
func libvirtError(format string, a ...any) error {
	return uncaught("libvirtError", format, a...)
}
