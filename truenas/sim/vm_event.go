package sim

// tellVM sends a vm.query event. Up to 25.10 these come from libvirt: they have
// no devices, and the state is libvirt's word, which may be one that vm.query
// never shows.
func (s *Sim) tellVM(msg string, m *vm, state string) {
	row := m.row(s.state.devicesOf(m.ID), s.release)
	if s.release <= v25_10 {
		row.Devices = nil
		if state == "" && m.State == stopped {
			state = "SHUTOFF"
		}
		if state != "" {
			row.Status.State, row.Status.DomainState = state, &state
		}
	}
	s.emit("vm.query", msg, m.ID, row)
}

// tellGone sends the event of a machine that was deleted.
func (s *Sim) tellGone(id int) { s.emit("vm.query", "removed", id, nil) }
