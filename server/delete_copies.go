package server

import (
	"context"

	"virtrigaud-provider-truenas/truenas"
)

// mayRemove refuses to delete a VM while a full clone is made of it, which is seen to then, and one
// that is being made as a full clone itself. Of a clone that nobody is at work on it ends what goes on
// at the NAS, and removes what lies beside its source.
func (s *Server) mayRemove(ctx context.Context, r *removal) error {
	for _, vm := range r.copies {
		if running, failed := s.clones.peek(vm.UUID); !running && failed != nil {
			continue
		}
		if err := s.resume(ctx, vm); err != nil {
			return err
		}
		return withheld(aborted("VM %q is being made as a full clone of this VM, which can be deleted when that is whole", displayName(vm)), "a full clone of this VM is being made; the VM can be deleted when that is complete")
	}
	if r.vm == nil || s.whole(*r.vm) == nil {
		return nil
	}
	m, _ := s.mark(*r.vm)
	switch busy, err := s.takenElsewhere(ctx, s.layout.machine(m.Pool, m.onNAS())); {
	case err != nil:
		return err
	case busy:
		return s.whole(*r.vm)
	}
	if err := s.endCopies(ctx, r.datasets); err != nil {
		return err
	}
	return s.dropFrozen(ctx, r.vm.UUID)
}

// dropFrozen removes the snapshots that were taken of a VM to make a full clone, of which only the id is known. It stands on
// the snapshots of the datasets around the disks.
func (s *Server) dropFrozen(ctx context.Context, clone string) error {
	taken, err := s.nas.Snapshots.List(ctx, truenas.Cond("snapshot_name", "^", fullSnapshot))
	if err != nil {
		return err
	}
	for _, snapshot := range taken {
		if snapshot.UserProperties[propMachine] != clone || snapshot.UserProperties[propProvider] != s.cfg.ID {
			continue
		}
		if err := s.dropNamed(ctx, snapshot.Dataset, snapshot.Name); err != nil {
			return err
		}
	}
	return nil
}
