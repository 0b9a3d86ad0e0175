package server

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// surroundings are the VMs and datasets of the NAS that a removal of one VM depends on. They are read with filters, because a NAS
// may have thousands of others, and the manager deletes the VMs of a namespace one at a time.
type surroundings struct {
	vms      []truenas.VM      // the records of the VM, its unfinished full clones, and the VMs that use the expected datasets
	datasets []truenas.Dataset // the roots, the locks, and all datasets that carry the id of the VM or of such a clone
	expected []string          // the datasets whose users are among vms
}

// lookFor reads the surroundings of a VM. It takes the probable datasets of the disks from the cached list, which saves a call.
func (s *Server) lookFor(ctx context.Context, id string) (*surroundings, error) {
	seen := &surroundings{expected: s.expectedOf(id)}
	filters := []truenas.Filter{truenas.Where("uuid", id), truenas.Cond("description", "rin", "source="+id)}
	for _, dataset := range seen.expected {
		filters = append(filters, vmrecord.UsesOf(dataset)...)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { seen.vms, err = s.nas.VMs.List(gctx, truenas.AnyOf(filters...)); return })
	g.Go(func() (err error) {
		seen.datasets, err = s.nas.Datasets.List(gctx, truenas.AnyOf(
			truenas.Where(userProperty(spec.PropVM), id), truenas.Cond(userProperty(spec.PropClone), "rin", "source="+id),
			truenas.Cond("id", "~", s.layout.HandOverPattern()), truenas.Cond("id", "~", s.layout.RootsPattern())))
		return
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := s.claims.Learn(seen.datasets); err != nil {
		return nil, err
	}
	return seen, s.withCopies(ctx, id, seen)
}

// userProperty is a user property of a dataset for filters.
func userProperty(name string) string { return "user_properties." + name + ".rawvalue" }

// expectedOf returns the datasets of the VM's disks according to the cached list of VMs.
func (s *Server) expectedOf(id string) []string {
	vm, known := s.inventory.Cached(id)
	if !known {
		return nil
	}
	var datasets []string
	for _, volume := range vmrecord.Disks(vm) {
		if tree, ok := s.marks.Tree(volume); ok && !slices.Contains(datasets, tree) {
			datasets = append(datasets, tree)
		}
	}
	return datasets
}

// withCopies reads the marks of the datasets, and adds the full clones whose source is recorded in the dataset alone, because a
// user edited the description of the VM.
func (s *Server) withCopies(ctx context.Context, id string, seen *surroundings) error {
	var copies []string
	var own spec.Mark
	found := false
	for _, d := range seen.datasets {
		m, ok := s.marks.InDataset(d)
		switch {
		case !ok:
		case m.ID() == id:
			own, found = m, true
		case m.Source == id:
			s.marks.Note(m)
			if !slices.ContainsFunc(seen.vms, func(vm truenas.VM) bool { return vm.UUID == m.ID() }) {
				copies = append(copies, m.ID())
			}
		}
	}
	s.marks.Replace(id, own, found)
	if len(copies) == 0 {
		return nil
	}
	more, err := s.nas.VMs.List(ctx, truenas.Cond("uuid", "in", copies))
	seen.vms = append(seen.vms, more...)
	return err
}

// othersWith lists the names of other VMs that use a dataset or something in it.
func (s *Server) othersWith(ctx context.Context, id string, seen *surroundings, dataset string) ([]string, error) {
	vms := seen.vms
	if !slices.Contains(seen.expected, dataset) {
		var err error
		if vms, err = s.nas.VMs.List(ctx, truenas.AnyOf(vmrecord.UsesOf(dataset)...)); err != nil {
			return nil, err
		}
	}
	return vmrecord.UsersOf(slices.DeleteFunc(slices.Clone(vms), func(vm truenas.VM) bool { return vm.UUID == id }), dataset, -1), nil
}
