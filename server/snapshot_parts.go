package server

import (
	"context"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// takenBefore reports whether an earlier attempt has taken the snapshot of a VM whose disks lie in several datasets. It removes the
// parts of an interrupted attempt: the VM may have run since, so that parts of then and now would be of two moments. A snapshot
// that was complete stays so when the VM gets a disk in another dataset.
func (s *Server) takenBefore(ctx context.Context, vm truenas.VM, trees []string, name string, props map[string]string) (complete bool, err error) {
	ids := make([]string, len(trees))
	for i, tree := range trees {
		ids[i] = tree + "@" + name
	}
	found, err := s.nas.Snapshots.Find(ctx, ids...)
	if err != nil || len(found) == 0 {
		return false, err
	}
	taken := map[string]bool{}
	for _, was := range found {
		if err := s.sameRequest(vm, was, name, props); err != nil {
			return false, err
		}
		taken[was.Dataset] = true
	}
	lacks := func(tree string) bool { return !taken[tree] && slices.Contains(trees, tree) }
	parts := found[0].UserProperties[propTrees]
	switch {
	case len(found) == len(trees):
		return true, nil
	case parts == "":
		return false, refusal.AlreadyExists("name_hint: VM %q has a snapshot %s without all of its disks; delete it, or choose another name", vmrecord.Name(vm), name)
	case !slices.ContainsFunc(strings.Split(parts, ","), lacks):
		return true, nil
	}
	for tree := range taken {
		if err := destroy.SnapshotsNamed(ctx, s.nas, tree, name); err != nil {
			return false, err
		}
	}
	return false, nil
}
