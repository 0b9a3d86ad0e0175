package server

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/spec"
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
	// Now the clones own the snapshots, and the VM's disks are clones of those.
	return s.lookInto(ctx, r)
}

// leftPromotes are such datasets of processes that are not there any more.
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

// promoteClones makes the linked clones of a VM's disks independent of the VM. A promotion moves the origin of a clone, and
// all older snapshots, to the clone, which may reveal further clones, so that the loop ends when there are none. A clone that
// another client makes meanwhile is refused.
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
