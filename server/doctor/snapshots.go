package doctor

import (
	"context"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/diskio"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// snapshots finds the snapshots for clones and exports that no object depends on any more. The snapshots of all disks for one clone
// are removed together.
func (e *examination) snapshots() []Leftover {
	needed := map[string]bool{}
	for _, d := range e.datasets {
		needed[d.Origin] = true
		needed[d.LocalUserProperties[diskio.PropSnapshot]] = true
	}
	unfinished := map[string]bool{}
	for _, vm := range e.vms {
		unfinished[vm.UUID] = e.doctor.checkComplete(vm) != nil
	}
	groups := map[string][]truenas.Snapshot{}
	var order []string
	for _, snap := range e.snaps {
		if snap.Name == spec.ReadySnapshot || snap.UserProperties[spec.PropProvider] != e.doctor.provider {
			continue
		}
		tree := snap.Dataset
		if parent, ok := e.doctor.marks.Tree(tree); ok {
			tree = parent
		}
		id := tree + "@" + snap.Name
		if groups[id] == nil {
			order = append(order, id)
		}
		groups[id] = append(groups[id], snap)
	}
	var found []Leftover
	for _, id := range order {
		group := groups[id]
		if !slices.ContainsFunc(group, func(snap truenas.Snapshot) bool {
			return needed[snap.ID] || unfinished[snap.UserProperties[spec.PropVM]] || !e.settled(snap.CreatedAt)
		}) {
			found = append(found, e.frozen(id, group))
		}
	}
	return found
}

func (e *examination) frozen(id string, group []truenas.Snapshot) Leftover {
	tree, name, _ := strings.Cut(id, "@")
	l := Leftover{Kind: "snapshot for a clone", Where: id, Since: group[0].CreatedAt, Keep: e.working(tree)}
	if strings.HasPrefix(name, diskio.ExportSnapshot) {
		l.Kind = "snapshot for an export"
	}
	for _, snap := range group {
		l.Bytes += snap.UsedBytes
	}
	l.drop = func(ctx context.Context) error {
		for _, snap := range group {
			if err := destroy.Snapshot(ctx, e.doctor.nas, snap.ID); err != nil {
				return err
			}
		}
		return nil
	}
	return l
}
