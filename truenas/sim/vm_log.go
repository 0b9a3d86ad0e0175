package sim

import "fmt"

// The size of libvirt's entries in the log of a VM, in bytes: the command line at the start of QEMU, and one line after the
// domain has gone off. A failed start has written its entry, too.
const (
	logStart = 4000
	logStop  = 80
)

// logAt returns the log at a path. Libvirt names it by the domain, whose name is the UUID from 26 on.
func (s *Sim) logAt(path string) *file {
	for _, m := range s.state.VMs {
		name := fmt.Sprintf("%d_%s", m.ID, m.Config.Name)
		if s.release >= v26 {
			name = *m.Config.UUID
		}
		if m.LogBytes > 0 && path == "/var/log/libvirt/qemu/"+name+".log" {
			return &file{Mode: 0o600, Size: m.LogBytes, Modified: s.clock.Now()}
		}
	}
	return nil
}
