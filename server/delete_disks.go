package server

import (
	"context"
	"path"
	"slices"

	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// withImports adds the datasets of imported disks that were landed for this VM: the VM's dataset records them, they carry this
// provider's mark, not inherited, and they belong to the same owner. A dataset whose disk the VM does not use any more, or
// another VM uses, stays.
func (s *Server) withImports(ctx context.Context, r *removal, own []truenas.Dataset, seen *surroundings) error {
	owners := map[string]string{} // of the VM, by the dataset of the import
	var recorded []string
	for _, d := range own {
		dataset := d.LocalUserProperties[spec.PropImport]
		if imported, ok := s.layout.ImportOf(landing.Place{Dataset: dataset}.Volume()); ok && imported == dataset {
			owners[dataset] = d.LocalUserProperties[spec.PropOwner]
			recorded = append(recorded, dataset)
		}
	}
	if len(recorded) == 0 {
		return nil
	}
	read := slices.Clone(recorded)
	for _, dataset := range recorded {
		read = append(read, path.Dir(dataset))
	}
	list, err := s.nas.Datasets.List(ctx, truenas.Cond("id", "in", read))
	if err != nil {
		return err
	}
	for _, d := range list {
		if !slices.Contains(recorded, d.ID) {
			continue
		}
		owner := d.LocalUserProperties[spec.PropOwner]
		fits := d.LocalUserProperties[spec.PropProvider] == s.cfg.ID && !ownership.Inherits(d, list) && (owner == "" || owner == owners[d.ID])
		others, err := s.othersWith(ctx, r.id, seen, d.ID)
		if err != nil {
			return err
		}
		if fits && len(others) == 0 && (r.vm == nil || len(vmrecord.UsersOf([]truenas.VM{*r.vm}, d.ID, -1)) > 0) {
			r.datasets = append(r.datasets, d.ID)
		}
	}
	return nil
}

// accountFor refuses to delete a VM of ours with disks that a deletion would orphan: disks that are not deleted with the VM
// and have no other known owner.
func (s *Server) accountFor(ctx context.Context, r *removal) error {
	if r.vm == nil || !s.marks.Ours(*r.vm) {
		return nil // A deletion keeps all disks of a VM that a user made.
	}
	volumes := slices.DeleteFunc(vmrecord.Disks(*r.vm), func(volume string) bool {
		return slices.ContainsFunc(r.datasets, func(dataset string) bool { return spec.InTree(volume, dataset) })
	})
	if len(volumes) == 0 {
		return nil
	}
	var ids []string
	for _, volume := range volumes {
		ids = append(ids, volume, spec.PoolOf(volume))
	}
	list, err := s.nas.Datasets.List(ctx, truenas.Cond("id", "in", ids))
	if err != nil {
		return err
	}
	there := map[string]truenas.Dataset{}
	for _, d := range list {
		there[d.ID] = d
	}
	for _, volume := range volumes {
		if err := s.accountForDisk(r, volume, there); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) accountForDisk(r *removal, volume string, there map[string]truenas.Dataset) error {
	name := vmrecord.Name(*r.vm)
	if _, ok := there[spec.PoolOf(volume)]; !ok {
		return refusal.FailedPrecondition("disk %s of VM %q lies on pool %q, which the NAS does not have at the moment; import the pool first", volume, name, spec.PoolOf(volume))
	}
	d, ok := there[volume]
	tree, inLayout := s.marks.Tree(volume)
	_, imported := s.layout.ImportOf(volume)
	props := d.UserProperties
	switch {
	case !ok: // The disk is gone.
	case s.mine(d) && props[spec.PropVM] == r.id && !inLayout:
		return refusal.FailedPrecondition("disk %s of VM %q lies outside of %s; set storage.dataset to its value at the time the VM was created", volume, name, s.layout.Root(spec.PoolOf(volume)))
	case s.mine(d) && props[spec.PropVM] == r.id:
		return refusal.FailedPrecondition("disk %s of VM %q: dataset %s has its user properties virtrigaud:* by inheritance or replication; set them on the dataset and remove them from its parents, or detach the disk", volume, name, tree)
	case props[spec.PropProvider] != "" || imported || !inLayout: // It belongs to another owner, or has none yet.
	default:
		return refusal.FailedPrecondition("disk %s of VM %q: dataset %s has lost its user properties virtrigaud:*; set virtrigaud:provider to %q and virtrigaud:machine to %q there, or detach the disk", volume, name, path.Dir(volume), s.cfg.ID, r.id)
	}
	return nil
}
