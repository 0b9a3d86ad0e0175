package server

import (
	"context"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// observeNamed is observe, and finds the VM under the name that it has on the NAS. Where the request names a namespace, that name
// begins with it. A VM without: an older provider made it for the same owner, and it stays where it is; or it was made for a
// manager of line 0.3, which names no owner. The latter may be the one that this request means, or that of another namespace.
// It is never taken over, since that could give one tenant the VM of another, and no second VM is made beside it.
func (s *Server) observeNamed(ctx context.Context, want *spec.VM, id string) (*observation, error) {
	seen, err := s.observe(ctx, *want, id)
	if err != nil || want.Namespace == "" || s.hasQualified(*want, id, seen) {
		return seen, err
	}
	for _, m := range s.plainMarks(*want, seen) {
		switch {
		case m.ID() == id:
			want.Namespace = m.Namespace
			return s.observe(ctx, *want, id)
		case m.Owner == "" && m.Name == want.Name:
			return nil, refusal.AlreadyExists("VM %q exists and records no owner: VirtRigaud 0.3 made it, for this or another namespace. Adopt it, or delete it first", want.Name)
		}
	}
	return seen, nil
}

// hasQualified reports whether the VM or its dataset has the name with the namespace.
func (s *Server) hasQualified(want spec.VM, id string, seen *observation) bool {
	if d, ok := seen.datasets[s.layout.VMDataset(want.Pool, want.OnNAS())]; ok {
		if m, ok := s.marks.InDataset(d); ok && m.ID() == id {
			return true
		}
	}
	for _, vm := range seen.vms {
		if vm.UUID == id && vm.Name == want.OnNAS() {
			return true
		}
	}
	return false
}

// plainMarks are the marks of this provider's VM and dataset that have the name without a namespace.
func (s *Server) plainMarks(want spec.VM, seen *observation) []spec.Mark {
	plain := spec.NASName(want.Name)
	var marks []spec.Mark
	for _, vm := range seen.vms {
		if m, ok := s.markByName(vm, plain); ok {
			marks = append(marks, m)
		}
	}
	if d, ok := seen.datasets[s.layout.VMDataset(want.Pool, plain)]; ok {
		if m, ok := s.marks.InDataset(d); ok {
			marks = append(marks, m)
		}
	}
	return marks
}

func (s *Server) markByName(vm truenas.VM, name string) (spec.Mark, bool) {
	if vm.Name != name {
		return spec.Mark{}, false
	}
	return s.marks.Of(vm)
}
