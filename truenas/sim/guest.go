package sim

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Guest is the behavior of the operating system in a VM. The zero value boots and shuts down at once and has no agent.
type Guest struct {
	IgnoresPowerButton bool          `json:",omitempty"` // it ignores the power button
	ShutdownTime       time.Duration `json:",omitempty"` // from the power button to the power off
	BootTime           time.Duration `json:",omitempty"` // until then it ignores the power button and has no addresses
	Agent              bool          `json:",omitempty"` // it runs the guest agent
	Addresses          []string      `json:",omitempty"` // of its first NIC: "192.0.2.10/24", or without a length
}

// SetGuest sets the behavior of a VM's guest, whether or not the VM exists. The name "" applies to all VMs without their own
// behavior. It has no effect with a [Hypervisor].
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

// PowerOffGuest makes the guest of a running VM switch the VM off.
func (s *Sim) PowerOffGuest(vm string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.state.vmNamed(vm); m != nil && m.active() {
		s.powerOff(m)
	}
}

// SuspendGuest suspends a running VM, as the web interface can.
func (s *Sim) SuspendGuest(vm string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.state.vmNamed(vm); m != nil && m.State == running {
		m.State = suspended
		s.box(m).Pause(true)
		s.emitPaused(m)
	}
}

// booted reports whether the guest has booted.
func (s *Sim) booted(m *vm) bool {
	return m.State == running && !s.clock.Now().Before(m.Domain.Started.Add(s.state.guest(m).BootTime))
}

// box returns the domain that runs a VM.
func (s *Sim) box(m *vm) Domain {
	if m.Domain.box != nil {
		return m.Domain.box
	}
	return memoryMachine{s, m}
}

// memoryMachine is a VM that runs in memory only. It consists of the saved state, so a loaded VM continues where it was.
type memoryMachine struct {
	*Sim
	m *vm
}

func (i memoryMachine) PID() int   { return 0 }
func (i memoryMachine) Cut()       {}
func (i memoryMachine) Reset()     {}
func (i memoryMachine) Pause(bool) {}

// Press starts a shutdown that takes the guest's time, unless the guest ignores the power button.
func (i memoryMachine) Press() {
	s, m := i.Sim, i.m
	g := s.state.guest(m)
	if g.IgnoresPowerButton || !s.booted(m) || m.Domain.leaving {
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

var errNoAgent = errors.New("QEMU guest agent is not connected")

// Interfaces reports all addresses on the first NIC.
func (i memoryMachine) Interfaces(context.Context) ([]GuestInterface, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	g := i.state.guest(i.m)
	if !g.Agent || !i.booted(i.m) {
		return nil, errNoAgent
	}
	list := []GuestInterface{{Name: "lo", Hardware: "00:00:00:00:00:00", Addresses: []GuestAddress{{Address: "127.0.0.1", Prefix: 8, Type: "IPV4"}}}}
	for n, id := range vmIDs(i.m.Domain.MACs) {
		nic := GuestInterface{Name: fmt.Sprintf("eth%d", n), Hardware: i.m.Domain.MACs[id], Addresses: []GuestAddress{}}
		if n == 0 {
			for _, text := range g.Addresses {
				nic.Addresses = append(nic.Addresses, address(text))
			}
		}
		list = append(list, nic)
	}
	return list, nil
}

// Neighbours returns the addresses of the guest after its boot.
func (i memoryMachine) Neighbours() map[netip.Addr]string {
	ids := vmIDs(i.m.Domain.MACs)
	if len(ids) == 0 || !i.booted(i.m) {
		return nil
	}
	seen := map[netip.Addr]string{}
	for _, text := range i.state.guest(i.m).Addresses {
		if ip, err := netip.ParseAddr(address(text).Address); err == nil && ip.Is4() {
			seen[ip] = i.m.Domain.MACs[ids[0]]
		}
	}
	return seen
}
