package server

import (
	"context"
	"path"
	"regexp"
	"slices"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// treeOf answers the dataset of ours that a volume lies in: a VM's, or an import's.
func (s *Server) treeOf(volume string) (string, bool) {
	if imported, ok := s.layout.ImportOf(volume); ok {
		return imported, true
	}
	parent := path.Dir(volume)
	ok, _ := regexp.MatchString(s.layout.VMsPattern(), parent)
	return parent, ok
}

// ownTreeOf answers the dataset that a VM's volume lies in, when that is the VM's own or an import's. The disks of a copy that
// was made in TrueNAS lie in the dataset of the original.
func (s *Server) ownTreeOf(vm truenas.VM, volume string) (string, bool) {
	m, ours := s.mark(vm)
	tree, ok := s.treeOf(volume)
	if _, imported := s.layout.ImportOf(volume); imported {
		return tree, ours && ok
	}
	return tree, ours && ok && tree == s.layout.VMDataset(spec.PoolOf(volume), m.OnNAS())
}

// trees are the datasets that hold a VM's disks. One recursive snapshot of one of them is
// atomic; that is why a VM normally has one.
func (s *Server) trees(vm truenas.VM) ([]string, error) {
	var trees []string
	for _, volume := range vmrecord.Disks(vm) {
		tree, ok := s.ownTreeOf(vm, volume)
		if !ok {
			return nil, refusal.FailedPrecondition("disk %s of VM %q does not lie in a dataset of this provider that is the VM's own; work on it with TrueNAS's own means", volume, vmrecord.Name(vm))
		}
		if !slices.Contains(trees, tree) {
			trees = append(trees, tree)
		}
	}
	if len(trees) == 0 {
		return nil, refusal.FailedPrecondition("VM %q has no disks", vmrecord.Name(vm))
	}
	return trees, nil
}

// clonesOf lists what was cloned from anything in some datasets, and does not lie in them.
func (s *Server) clonesOf(ctx context.Context, trees []string) ([]truenas.Dataset, error) {
	filters := make([]truenas.Filter, len(trees))
	for i, tree := range trees {
		filters[i] = truenas.Cond("origin.rawvalue", "^", tree+"/")
	}
	list, err := s.nas.Datasets.List(ctx, truenas.AnyOf(filters...))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list, func(d truenas.Dataset) bool {
		return slices.ContainsFunc(trees, func(tree string) bool { return spec.InTree(d.ID, tree) })
	}), nil
}
