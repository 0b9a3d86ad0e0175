package sim

import "slices"

// What libvirt knows of a machine.
//
// Up to 25.10 libvirt has a domain of every machine from vm.create on, and the
// middleware keeps the domains that it watches by the machine's name. Names are
// unique only without concurrent creates, so two records may share one
// domain. A machine without a watched domain has the state ERROR.
//
// From 26 on libvirt gets a domain when a machine is started for the first
// time, and knows it by the UUID, which nothing keeps unique.

// domainOf is the machine whose domain represents m, or nil. It may be another
// machine than m.
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

// statusOf is the status of a machine as vm.query shows it.
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

// watch defines the domain of a machine, unless there is one. It fails when
// libvirt refuses the definition.
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

// definable reports whether libvirt accepts the definition of a machine. It
// refuses a UUID that a domain of another name has, and MAC addresses of groups.
// From 26 on the name is the UUID.
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

// groupAddress reports whether a MAC address is a multicast or broadcast address:
// the lowest bit of the first byte is set.
func groupAddress(mac string) bool {
	return len(mac) > 1 && slices.Contains([]byte("13579bdf"), mac[1])
}

// unwatch forgets the domain that the middleware watches by a machine's name,
// and removes that domain. It may be another machine's.
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

// rewatch is what the middleware does at its start: it defines a domain of
// every machine, in order, as far as libvirt lets it.
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
