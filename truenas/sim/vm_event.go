package sim

// The events of a VM have two sources. A call that creates, changes or deletes the record sends the row of vm.query. Events of
// libvirt's domain send more: from 26 on the same row, and up to 25.10 a row without devices whose state is libvirt's word.

const updating = "UPDATING CONFIGURATION" // up to 25.10: the domain was removed, often only to be defined again

// emitDomain sends the vm.query event for an event of libvirt. word is the middleware's name for the latter, which is misleading:
// see [Sim.emitStarted].
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

// emitStarted sends the events of a start. Up to 25.10 the middleware defines the domain again, and clients see the VM while it
// is still paused.
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

// emitStopped sends the events of a shutdown or a power off.
func (s *Sim) emitStopped(m *vm) {
	s.emitDomain("changed", m, "CRASHED") // libvirt's "shutdown"
	s.emitDomain("changed", m, "SHUTOFF") // libvirt's "stopped"
}

// emitPaused sends the event of a suspended or resumed VM.
func (s *Sim) emitPaused(m *vm) {
	word := "SHUTDOWN"
	if m.State == suspended {
		word = "SUSPENDED"
	}
	s.emitDomain("changed", m, word)
}

// emitRecord sends the event of a record that a call created, changed or deleted. Up to 25.04 it has only the id.
func (s *Sim) emitRecord(collection, msg string, id, row any) {
	if s.release == v25_04_2 {
		row = nil
	}
	s.emit(collection, msg, id, row)
}
