package server

import (
	"context"
	"errors"
	"slices"
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// SnapshotDelete removes a snapshot that this provider took of this VM. It succeeds when the snapshot does not exist. It refuses a
// snapshot of that name that another client took, and a snapshot with clones or holds, which the error names; a refusal changes
// nothing.
func (s *Server) SnapshotDelete(ctx context.Context, req *providerv1.SnapshotDeleteRequest) (*providerv1.TaskResponse, error) {
	vm, unlock, err := s.own(ctx, req.GetVmId())
	if errors.Is(err, truenas.ErrNotFound) {
		return &providerv1.TaskResponse{}, nil // The snapshots were deleted with the VM.
	}
	if err != nil {
		return nil, err
	}
	defer unlock()
	trees, err := s.marks.Trees(vm)
	if err != nil {
		return nil, err
	}
	if err := spec.CheckSnapshotID(req.GetSnapshotId()); err != nil {
		return nil, err
	}
	taken, err := s.deletable(ctx, vm, trees, req.GetSnapshotId())
	if err != nil {
		return nil, err
	}
	// The snapshot of the dataset around the disks goes last, because a repeated call finds the others by it.
	above, below := split(taken, func(snap truenas.Snapshot) bool { return slices.Contains(trees, snap.Dataset) })
	for _, group := range [][]truenas.Snapshot{below, above} {
		if err := destroy.Snapshots(ctx, s.nas, group); err != nil {
			return nil, err
		}
	}
	return &providerv1.TaskResponse{}, nil
}

// deletable returns the snapshots of one name that this provider took of a VM.
func (s *Server) deletable(ctx context.Context, vm truenas.VM, trees []string, name string) ([]truenas.Snapshot, error) {
	look, err := destroy.SurveyDatasets(ctx, s.nas, trees...)
	if err != nil {
		return nil, unchecked(err)
	}
	ids := make([]string, len(look.Datasets))
	for i, d := range look.Datasets {
		ids[i] = d.ID + "@" + name
	}
	all, err := s.nas.Snapshots.Find(ctx, ids...)
	if err != nil {
		return nil, unchecked(err)
	}
	taken, others := split(all, func(snap truenas.Snapshot) bool { return s.tookOf(vm, snap) })
	if len(taken) == 0 && len(others) > 0 {
		return nil, refusal.FailedPrecondition("snapshot %s was not taken by this provider for VM %q; delete it on the NAS", others[0].ID, vmrecord.Name(vm))
	}
	for _, snap := range taken {
		if i := slices.IndexFunc(look.Datasets, func(d truenas.Dataset) bool { return d.Origin == snap.ID }); i >= 0 {
			return nil, refusal.InUse("disk %s depends on snapshot %s", look.Datasets[i].ID, snap.ID)
		}
		if i := slices.IndexFunc(look.Clones, func(d truenas.Dataset) bool { return d.Origin == snap.ID }); i >= 0 {
			return nil, refusal.Withheld(refusal.InUse("snapshot %s has the clone %s; delete that first", snap.ID, look.Clones[i].ID), "the snapshot has a clone, which the provider's log names; delete that first")
		}
		if len(snap.Holds) > 0 {
			return nil, destroy.HeldError(snap)
		}
	}
	return taken, nil
}

// propTaken marks a snapshot that SnapshotCreate took: its value is the snapshot's name. A snapshot also shows the user properties
// of its dataset, and from 26 on TrueNAS does not report which are local; no dataset has this property.
const propTaken = "virtrigaud:taken"

// tookOf reports whether SnapshotCreate took a snapshot of this VM.
func (s *Server) tookOf(vm truenas.VM, snap truenas.Snapshot) bool {
	props := snap.UserProperties
	return props[propTaken] == snap.Name && props[spec.PropProvider] == s.cfg.ID && strings.EqualFold(props[spec.PropVM], vm.UUID)
}

// split divides a list into the elements that a condition holds for and the others.
func split[T any](list []T, holds func(T) bool) (yes, no []T) {
	for _, one := range list {
		if holds(one) {
			yes = append(yes, one)
		} else {
			no = append(no, one)
		}
	}
	return yes, no
}
