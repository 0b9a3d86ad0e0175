package ownership

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

// Tree returns this provider's dataset that contains a volume: a VM's, or an import's.
func (k *Marks) Tree(volume string) (string, bool) {
	if imported, ok := k.layout.ImportOf(volume); ok {
		return imported, true
	}
	parent := path.Dir(volume)
	ok, _ := regexp.MatchString(k.layout.VMsPattern(), parent)
	return parent, ok
}

// OwnTree returns the dataset that contains a VM's volume, if it is the VM's own or an import's. The disks of a copy that a user
// made in TrueNAS are in the dataset of the original.
func (k *Marks) OwnTree(vm truenas.VM, volume string) (string, bool) {
	m, ours := k.Of(vm)
	tree, ok := k.Tree(volume)
	if _, imported := k.layout.ImportOf(volume); imported {
		return tree, ours && ok
	}
	return tree, ours && ok && tree == k.layout.VMDataset(spec.PoolOf(volume), m.OnNAS())
}

// Trees returns the datasets that contain a VM's disks. A recursive snapshot of one dataset is atomic; that is why a VM normally
// has one.
func (k *Marks) Trees(vm truenas.VM) ([]string, error) {
	var trees []string
	for _, volume := range vmrecord.Disks(vm) {
		tree, ok := k.OwnTree(vm, volume)
		if !ok {
			return nil, refusal.FailedPrecondition("disk %s of VM %q lies outside of the VM's own dataset of this provider; change it in TrueNAS", volume, vmrecord.Name(vm))
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

// Clones lists the clones of objects in some datasets that are outside of these datasets.
func (k *Marks) Clones(ctx context.Context, trees []string) ([]truenas.Dataset, error) {
	filters := make([]truenas.Filter, len(trees))
	for i, tree := range trees {
		filters[i] = truenas.Cond("origin.rawvalue", "^", tree+"/")
	}
	list, err := k.nas.Datasets.List(ctx, truenas.AnyOf(filters...))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list, func(d truenas.Dataset) bool {
		return slices.ContainsFunc(trees, func(tree string) bool { return spec.InTree(d.ID, tree) })
	}), nil
}
