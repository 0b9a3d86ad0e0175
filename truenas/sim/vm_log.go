package sim

import "fmt"

// What libvirt writes into the log of a machine, in bytes: the command line when it starts QEMU, and one line when the domain
// has gone off. A start that fails has written, too.
const (
	logStart = 4000
	logStop  = 80
)

// logAt is the log of a machine at that path. Libvirt names it by the domain, whose name is the UUID from 26 on.
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
