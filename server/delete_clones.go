package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// handOver moves the snapshots of a VM that is deleted to the linked clones that depend on them. It runs under a lock,
// because promoting a clone twice would take the snapshot from the origin of the VM itself.
func (s *Server) handOver(ctx context.Context, r *removal) (err error) {
	release, err := s.leases.LockVM(ctx, r.datasets[0], "its clones are being promoted")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := s.lookInto(ctx, r); err != nil {
		return err
	}
	if err := r.found.DropUncloned(ctx, s.nas); err != nil {
		return err
	}
	if err := s.promoteClones(ctx, r.datasets); err != nil {
		return err
	}
	// The clones now own the snapshots, and the VM's disks are clones of those snapshots.
	return s.lookInto(ctx, r)
}

// leftPromotes returns the lock datasets of ended processes that promoted clones of this VM.
func (s *Server) leftPromotes(r *removal, all []truenas.Dataset) []string {
	var left []string
	for _, d := range all {
		ours := d.LocalUserProperties[spec.PropProvider] == s.cfg.ID && !s.leases.Alive(&d)
		about := slices.ContainsFunc(r.datasets, func(dataset string) bool { return s.layout.HandOverClaim(dataset) == d.ID })
		if ours && (about || s.layout.IsHandOverClaim(d.ID) && d.LocalUserProperties[spec.PropVM] == r.id) {
			left = append(left, d.ID)
		}
	}
	return left
}

// promoteClones makes the linked clones of a VM's disks independent of the VM. A promotion moves the origin of a clone, and all
// older snapshots, to the clone, which may reveal further clones, so that the loop ends when there are none. It refuses a clone
// that another client makes meanwhile.
func (s *Server) promoteClones(ctx context.Context, datasets []string) error {
	for {
		clones, err := s.marks.Clones(ctx, datasets)
		if err != nil || len(clones) == 0 {
			return err
		}
		if !s.mine(clones[0]) {
			return destroy.CloneError(clones[0])
		}
		if err := s.nas.Datasets.Promote(ctx, clones[0].ID); err != nil {
			return fmt.Errorf("promoting %s: %w", clones[0].ID, err)
		}
	}
}

// mayRemove refuses to delete the source of an unfinished full clone, and resumes that clone. It also refuses to delete an
// unfinished full clone while a replica works on it. For an abandoned clone it waits for copies on the NAS, and removes the
// temporary snapshots from its source.
func (s *Server) mayRemove(ctx context.Context, r *removal) error {
	for _, vm := range r.copies {
		if running, failed := s.clones.Peek(vm.UUID); !running && failed != nil {
			continue
		}
		if err := s.resume(ctx, vm); err != nil {
			return err
		}
		return refusal.Withheld(refusal.Aborted("VM %q is a full clone of this VM in progress: delete this VM when the clone is complete", vmrecord.Name(vm)), "a full clone of this VM is in progress: delete this VM when the clone is complete")
	}
	if r.vm == nil || s.checkComplete(*r.vm) == nil {
		return nil
	}
	m, _ := s.marks.Of(*r.vm)
	switch busy, err := s.leases.HeldByOther(ctx, s.layout.VMDataset(m.Pool, m.OnNAS())); {
	case err != nil:
		return err
	case busy:
		return s.checkComplete(*r.vm)
	}
	if err := s.awaitCopies(ctx, r.datasets); err != nil {
		return err
	}
	err := s.dropFrozen(ctx, r.vm.UUID)
	if errors.Is(err, truenas.ErrBusy) {
		// The snapshots go before the disks: while a snapshot is sent, its copy is in progress, whatever the state of the job.
		return fmt.Errorf("TrueNAS may still be copying from a snapshot for VM %q: delete the VM when the copy has ended: %w", m.Name, err)
	}
	return err
}

// dropFrozen removes the snapshots that Clone took of a source for a full clone of which only the id is known. It finds them by the
// snapshots of the datasets around the disks.
func (s *Server) dropFrozen(ctx context.Context, clone string) error {
	homes, err := s.nas.Datasets.List(ctx, truenas.Cond("id", "~", s.layout.TreesPattern()))
	if err != nil {
		return err
	}
	trees := make([]string, len(homes))
	for i, d := range homes {
		trees[i] = d.ID
	}
	taken, err := s.nas.Snapshots.Picked(ctx, func(name string) bool { return strings.HasPrefix(name, fullSnapshot) }, trees...)
	if err != nil {
		return err
	}
	for _, snapshot := range taken {
		if snapshot.UserProperties[spec.PropVM] != clone || snapshot.UserProperties[spec.PropProvider] != s.cfg.ID {
			continue
		}
		if err := destroy.SnapshotsNamed(ctx, s.nas, snapshot.Dataset, snapshot.Name); err != nil {
			return err
		}
	}
	return nil
}
