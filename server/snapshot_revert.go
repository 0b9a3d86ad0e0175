package server

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/diskio"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// SnapshotRevert restores a VM's disks from a snapshot that this provider took of this VM. The VM has to be off: TrueNAS itself
// does not check, and a running guest would write its old memory over the disks.
//
// ZFS rolls a disk back only to its newest snapshot. SnapshotRevert refuses when SnapshotCreate took a newer one, and names it,
// since the caller can delete it. It keeps the newer snapshots of other clients, such as hourly snapshots of the pool: it sets the
// disk aside with them, and replaces it by a clone of the snapshot. See [setAside].
func (s *Server) SnapshotRevert(ctx context.Context, req *providerv1.SnapshotRevertRequest) (*providerv1.TaskResponse, error) {
	vm, unlock, err := s.own(ctx, req.GetVmId())
	if err != nil {
		return nil, err
	}
	defer unlock()
	if vm.Status.State != truenas.StateStopped {
		return nil, refusal.FailedPrecondition("VM %q is %s; power it off before it is reverted", vmrecord.Name(vm), vm.Status.State)
	}
	if err := cmp.Or(spec.CheckSnapshotID(req.GetSnapshotId()), s.onOnePool(vm, "the state that it is reverted to")); err != nil {
		return nil, err
	}
	if err := s.confirmOff(ctx, vm); err != nil {
		return nil, err
	}
	reverts, err := s.revertible(ctx, vm, req.GetSnapshotId())
	if err != nil {
		return nil, err
	}
	for _, r := range reverts {
		if err := r.run(ctx); err != nil {
			return nil, fmt.Errorf("reverting %s to %s: %w", r.volume, r.name, err)
		}
		if err := s.stillOff(ctx, vm); err != nil {
			return nil, err
		}
	}
	return &providerv1.TaskResponse{}, nil
}

// stillOff refuses to report a revert as done when another client started the VM meanwhile. TrueNAS reverts the disks of a running
// guest, which then writes over them.
func (s *Server) stillOff(ctx context.Context, vm truenas.VM) error {
	now, err := s.inventory.Refresh(ctx, vm.UUID)
	if err == nil && vmrecord.Active(now) {
		err = refusal.FailedPrecondition("VM %q was started while its disks were reverted, so its guest may damage them: power it off and repeat the revert", vmrecord.Name(vm))
	}
	return err
}

// revertible lists the disks to restore: those that had the snapshot. A disk that was added later stays unchanged.
func (s *Server) revertible(ctx context.Context, vm truenas.VM, name string) ([]*revert, error) {
	var volumes, trees []string
	for _, volume := range vmrecord.Disks(vm) {
		if tree, ok := s.marks.OwnTree(vm, volume); ok {
			volumes = append(volumes, volume)
			if !slices.Contains(trees, tree) {
				trees = append(trees, tree)
			}
		}
	}
	if len(volumes) == 0 {
		return nil, refusal.FailedPrecondition("VM %q has no disks of this provider", vmrecord.Name(vm))
	}
	look, err := destroy.SurveyDatasets(ctx, s.nas, trees...)
	if err != nil {
		return nil, err
	}
	targets, err := s.targets(ctx, vm, look, volumes, name)
	if err != nil {
		return nil, err
	}
	var reverts []*revert
	for _, volume := range volumes {
		if at, ok := targets[volume]; ok {
			aside := slices.ContainsFunc(look.Datasets, func(d truenas.Dataset) bool { of, ok := spec.AsideOf(d.ID); return ok && of == volume })
			reverts = append(reverts, &revert{s: s, vm: vm, volume: volume, name: name, plain: at.Dataset == volume && !aside})
		}
	}
	for _, r := range reverts {
		if err := r.admit(ctx, targets[r.volume]); err != nil {
			return nil, err
		}
	}
	return reverts, nil
}

// targets finds the snapshot of this name of each disk: on the disk itself, or on the volume beside it that an interrupted revert
// has set aside.
func (s *Server) targets(ctx context.Context, vm truenas.VM, look *destroy.Contents, volumes []string, name string) (map[string]truenas.Snapshot, error) {
	owner := map[string]string{}
	var ids []string
	for _, volume := range volumes {
		owner[volume] = volume
		ids = append(ids, volume+"@"+name)
	}
	for _, d := range look.Datasets {
		if volume, ok := spec.AsideOf(d.ID); ok {
			owner[d.ID] = volume
			ids = append(ids, d.ID+"@"+name)
		}
	}
	all, err := s.nas.Snapshots.Find(ctx, ids...)
	if err != nil {
		return nil, err
	}
	taken, others := split(all, func(snap truenas.Snapshot) bool { return s.tookOf(vm, snap) })
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("snapshot %q of VM %q: %w", name, vmrecord.Name(vm), truenas.ErrNotFound)
	case len(taken) == 0:
		return nil, refusal.FailedPrecondition("snapshot %s was not taken by this provider for VM %q; revert to it on the NAS", others[0].ID, vmrecord.Name(vm))
	}
	targets := map[string]truenas.Snapshot{}
	for _, snap := range taken {
		volume := owner[snap.Dataset]
		if _, ok := targets[volume]; !ok || snap.Dataset == volume {
			targets[volume] = snap
		}
	}
	return targets, nil
}

// admit refuses a revert that would take a snapshot from its user. SnapshotCreate allows no hyphen in a name.
func (r *revert) admit(ctx context.Context, target truenas.Snapshot) error {
	newer, err := r.s.nas.Snapshots.Newer(ctx, target.CreateTXG, target.Dataset)
	if err != nil || len(newer) == 0 {
		return err
	}
	r.plain = false
	var named []string
	for _, id := range newer {
		_, name, _ := strings.Cut(id, "@")
		switch {
		case strings.HasPrefix(name, diskio.ExportSnapshot), strings.HasPrefix(name, fullSnapshot):
			return refusal.Aborted("snapshot %s is newer than %s and is needed for an export or a full clone in progress; retry", id, target.ID)
		case !strings.Contains(name, "-"):
			named = append(named, id)
		}
	}
	found, err := r.s.nas.Snapshots.Find(ctx, named...)
	if err != nil {
		return err
	}
	for _, snap := range found {
		if r.s.tookOf(r.vm, snap) {
			return refusal.FailedPrecondition("snapshot %s is newer than %s and would be lost; delete it first", snap.ID, target.ID)
		}
	}
	return r.s.permit(cloneVMs)
}
