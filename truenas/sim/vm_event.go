package sim

// The events of a machine come from two places. Its record being made, changed
// or deleted through the API sends the row as vm.query shows it. Whatever
// libvirt reports of its domain sends more events: from 26 on the same row, and
// up to 25.10 a row without devices whose state is libvirt's word.

const updating = "UPDATING CONFIGURATION" // up to 25.10: the domain was removed, often only to be defined again

// emitDomain sends the vm.query event for an event of libvirt. word is the
// middleware's name for the latter, which is not what one would expect: see
// [Sim.emitStarted].
func (s *Sim) emitDomain(msg string, m *vm, word string) {
	row := s.state.machineRow(m, s.state.devicesOf(m.ID), s.release)
	if s.release >= v26 {
		s.emit("vm.query", "changed", m.ID, row)
		return
	}
	row.Devices = nil
	switch {
	case word == "RUNNING": // libvirt's "undefined"
		row.Status.State = updating
	case row.Status.DomainState == nil:
	case *row.Status.DomainState == "PAUSED":
		row.Status.State = suspended
	case *row.Status.DomainState != stateError:
		row.Status.State = *row.Status.DomainState
	}
	s.emitExtra("vm.query", msg, m.ID, row, map[string]string{"state": word})
}

// emitStarted sends what a start looks like. Up to 25.10 the domain is defined
// again, and the machine is seen while it is still paused.
func (s *Sim) emitStarted(m *vm) {
	if s.release <= v25_10 {
		m.State = suspended
		s.emitDomain("changed", m, "RUNNING")
		s.emitDomain("added", m, "NOSTATE")
		s.emitDomain("added", m, "NOSTATE")
		m.State = running
	}
	s.emitDomain("changed", m, "SHUTDOWN") // libvirt's "resumed"
	s.emitDomain("changed", m, "BLOCKED")  // libvirt's "started"
}

// emitStopped sends what a shutdown or a power off looks like.
func (s *Sim) emitStopped(m *vm) {
	s.emitDomain("changed", m, "CRASHED") // libvirt's "shutdown"
	s.emitDomain("changed", m, "SHUTOFF") // libvirt's "stopped"
}

// emitPaused sends what a suspended or resumed machine looks like.
func (s *Sim) emitPaused(m *vm) {
	word := "SHUTDOWN"
	if m.State == suspended {
		word = "SUSPENDED"
	}
	s.emitDomain("changed", m, word)
}

// emitRecord sends the event of a record that was made, changed or deleted by a
// call. Up to 25.04 it has an id and nothing else.
func (s *Sim) emitRecord(collection, msg string, id, row any) {
	if s.release == v25_04_2 {
		row = nil
	}
	s.emit(collection, msg, id, row)
}
