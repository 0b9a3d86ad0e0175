package sim

import "time"

// Guest is how the operating system inside a machine behaves. The zero value
// boots and shuts down in an instant and has no agent.
type Guest struct {
	Deaf         bool          `json:",omitempty"` // it does not hear the power button
	ShutdownTime time.Duration `json:",omitempty"` // from the power button to power off
	BootTime     time.Duration `json:",omitempty"` // until then it is deaf, and has no addresses
	Agent        bool          `json:",omitempty"` // it runs the guest agent
	Addresses    []string      `json:",omitempty"` // of its first NIC: "192.0.2.10/24", or without a length
}

// SetGuest tells how the guest of a machine behaves from now on, whether or not
// the machine exists. The name "" means all machines that were not told.
func (s *Sim) SetGuest(vm string, g Guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Guests == nil {
		s.state.Guests = map[string]Guest{}
	}
	s.state.Guests[vm] = g
}

func (s *state) guest(m *vm) Guest {
	if g, ok := s.Guests[m.Config.Name]; ok {
		return g
	}
	return s.Guests[""]
}

// PowerOffGuest lets the guest of a running machine switch it off from inside.
func (s *Sim) PowerOffGuest(vm string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.state.vmNamed(vm); m != nil && m.active() {
		s.powerOff(m)
	}
}

// booted tells whether the guest has come up.
func (s *Sim) booted(m *vm) bool {
	return m.State == running && !s.clock.Now().Before(m.Domain.Started.Add(s.state.guest(m).BootTime))
}

// press presses the power button: a guest that hears it goes down in its own
// time.
func (s *Sim) press(m *vm) {
	g := s.state.guest(m)
	if g.Deaf || !s.booted(m) || m.Domain.leaving {
		return
	}
	if g.ShutdownTime <= 0 {
		s.powerOff(m)
		return
	}
	m.Domain.leaving = true
	pid := m.PID
	s.after(g.ShutdownTime, func() {
		if m.PID == pid && m.State == running && s.state.VMs[m.ID] == m {
			s.powerOff(m)
		}
	})
}
