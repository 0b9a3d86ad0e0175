package server

import (
	"context"
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/diskio"
	"virtrigaud-provider-truenas/server/lease"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// asideSnapshot is the prefix of the snapshot that a revert takes of a disk to set it aside; see [spec.AsideInfix].
const asideSnapshot = "vraside-"

// propReserved is a property of a volume that was set aside: the bytes that were reserved for the disk.
const propReserved = "virtrigaud:reserved"

// maxRevertSteps bounds the steps of one revert, which usually takes four. Each periodic snapshot during the revert takes two more.
const maxRevertSteps = 20

// revert restores one disk from a snapshot.
type revert struct {
	s      *Server
	vm     truenas.VM
	volume string
	name   string // the name of the snapshot
	plain  bool   // the snapshot was the disk's newest, and nothing was set aside for the disk
}

// run takes one step after the other until the disk has the contents of the snapshot. Each step depends on the state of the NAS
// alone, so a repeated call continues where an interrupted one stopped.
//
// A disk without newer snapshots is rolled back. For a disk with newer snapshots of other clients, run destroys only the present
// contents, which the revert discards, and only after a copy exists:
//
//  1. set aside: take a snapshot of the disk, clone it beside the disk and promote the clone, so that the clone owns all snapshots
//     of the disk;
//  2. destroy the disk, which has no snapshot any more;
//  3. make the disk again as a clone of the snapshot to restore, and promote it, so that it has that snapshot and the older ones
//     again.
//
// The volume that was set aside keeps the newer snapshots, and is deleted with its VM.
//
// A lock admits one process at a time: promoting a clone twice would take a snapshot from the image of the disk.
func (r *revert) run(ctx context.Context) (err error) {
	if r.plain {
		err := r.s.nas.Snapshots.Rollback(ctx, r.volume+"@"+r.name, truenas.RollbackOptions{})
		if err == nil || errors.Is(err, truenas.ErrPermission) {
			return err // The disk is reverted, as usual, or the key may take no step.
		}
	}
	release, err := r.s.leases.LockVM(ctx, path.Dir(r.volume), "its disks are being reverted")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	for range maxRevertSteps {
		done, err := r.step(ctx)
		if done || err != nil {
			return err
		}
	}
	return refusal.Aborted("revert interrupted: other clients keep taking snapshots of the disk; retry")
}

func (r *revert) step(ctx context.Context) (done bool, err error) {
	look, err := destroy.SurveyDatasets(ctx, r.s.nas, path.Dir(r.volume))
	if err != nil {
		return false, err
	}
	disk, asides := r.parts(look)
	source, err := r.source(ctx, disk, asides)
	if err != nil {
		return false, err
	}
	beside := map[string]truenas.Dataset{}
	for _, d := range asides {
		beside[d.ID] = d
	}
	nas := r.s.nas
	unpromoted := slices.IndexFunc(asides, func(d truenas.Dataset) bool { return strings.HasPrefix(d.Origin, r.volume+"@"+asideSnapshot) })
	switch {
	case disk == nil:
		return false, lease.IgnoreExists(nas.Snapshots.Clone(ctx, source.ID, r.volume, r.importMarks(beside[source.Dataset])))
	case disk.Origin == source.ID:
		return false, nas.Datasets.Promote(ctx, disk.ID)
	case unpromoted >= 0:
		return false, nas.Datasets.Promote(ctx, asides[unpromoted].ID)
	case source.Dataset != r.volume:
		return false, r.clear(ctx, *disk, asides)
	}
	newer, err := nas.Snapshots.Newer(ctx, source.CreateTXG, r.volume)
	switch {
	case err != nil:
		return false, err
	case len(newer) > 0:
		return false, r.setAside(ctx, *disk, asides)
	}
	return r.rollBack(ctx, *disk, source, asides)
}

// setAside makes a clone of the disk beside it, which the next step promotes.
func (r *revert) setAside(ctx context.Context, disk truenas.Dataset, asides []truenas.Dataset) error {
	n := 1
	for slices.ContainsFunc(asides, func(d truenas.Dataset) bool { return d.ID == r.asideName(n) }) {
		n++
	}
	name := asideSnapshot + strconv.Itoa(n)
	create := truenas.SnapshotCreate{Dataset: r.volume, Name: name, UserProperties: map[string]string{spec.PropProvider: r.s.cfg.ID, spec.PropVM: r.vm.UUID}}
	if _, err := r.s.nas.Snapshots.Create(ctx, create); lease.IgnoreExists(err) != nil {
		return err
	}
	props := r.importMarks(disk)
	props[propReserved] = strconv.FormatInt(disk.RefReservationBytes, 10)
	return lease.IgnoreExists(r.s.nas.Snapshots.Clone(ctx, r.volume+"@"+name, r.asideName(n), props))
}

// importMarks returns the user properties of an imported disk. A clone does not have those of its origin, and a disk without them
// looks like an import that was never complete.
func (r *revert) importMarks(volume truenas.Dataset) map[string]string {
	props := map[string]string{}
	if _, imported := r.s.layout.ImportOf(r.volume); !imported {
		return props
	}
	for _, key := range []string{diskio.PropState, spec.PropSource, spec.PropFormat, spec.PropChecksum, spec.PropBytes} {
		if value := volume.LocalUserProperties[key]; value != "" {
			props[key] = value
		}
	}
	return props
}

func (r *revert) asideName(n int) string { return r.volume + spec.AsideInfix + strconv.Itoa(n) }

// clear destroys the disk after a volume beside it has taken its contents and snapshots. If another client took a snapshot
// meanwhile, clear sets the disk aside again.
func (r *revert) clear(ctx context.Context, disk truenas.Dataset, asides []truenas.Dataset) error {
	taken, err := r.s.nas.Snapshots.Names(ctx, disk.ID)
	if err != nil {
		return err
	}
	if len(taken) > 0 {
		return r.setAside(ctx, disk, asides)
	}
	err = destroy.BareDataset(ctx, r.s.nas, disk.ID)
	if errors.Is(err, truenas.ErrNotEmpty) {
		return nil // Another client took a snapshot meanwhile, which the next step finds.
	}
	return err
}

// rollBack is the last step. ZFS refuses it when another client took a newer snapshot meanwhile.
func (r *revert) rollBack(ctx context.Context, disk truenas.Dataset, source truenas.Snapshot, asides []truenas.Dataset) (done bool, err error) {
	nas := r.s.nas
	if err := nas.Snapshots.Rollback(ctx, source.ID, truenas.RollbackOptions{}); err != nil {
		newer, unknown := nas.Snapshots.Newer(ctx, source.CreateTXG, r.volume)
		if unknown == nil && len(newer) > 0 {
			return false, nil
		}
		return false, err
	}
	if err := r.reserve(ctx, disk, asides); err != nil {
		return false, err
	}
	return true, r.removeSnapshots(ctx, asides)
}

// reserve makes a thick disk thick again, because the clone that replaced it is thin.
func (r *revert) reserve(ctx context.Context, disk truenas.Dataset, asides []truenas.Dataset) error {
	thick := slices.ContainsFunc(asides, func(d truenas.Dataset) bool {
		bytes, err := strconv.ParseInt(d.LocalUserProperties[propReserved], 10, 64)
		return err == nil && bytes > 0
	})
	if !thick || disk.RefReservationBytes > 0 {
		return nil
	}
	_, err := r.s.nas.Datasets.Update(ctx, disk.ID, truenas.DatasetUpdate{RefReservationBytes: &disk.VolsizeBytes})
	return err
}

// removeSnapshots removes the snapshots that only the revert needed. A snapshot that a volume beside the disk is a clone of stays with that
// volume.
func (r *revert) removeSnapshots(ctx context.Context, asides []truenas.Dataset) error {
	if len(asides) == 0 {
		return nil
	}
	ids := make([]string, len(asides))
	for i, d := range asides {
		ids[i] = d.ID
	}
	names, err := r.s.nas.Snapshots.Names(ctx, ids...)
	if err != nil {
		return err
	}
	for _, id := range names {
		_, name, _ := strings.Cut(id, "@")
		needed := slices.ContainsFunc(asides, func(d truenas.Dataset) bool { return d.Origin == id })
		if needed || !strings.HasPrefix(name, asideSnapshot) {
			continue
		}
		if err := destroy.Snapshot(ctx, r.s.nas, id); err != nil {
			return err
		}
	}
	return nil
}

// parts returns the disk, nil while it does not exist, and the volumes that were set aside for it.
func (r *revert) parts(look *destroy.Contents) (disk *truenas.Dataset, asides []truenas.Dataset) {
	for i, d := range look.Datasets {
		if d.ID == r.volume {
			disk = &look.Datasets[i]
		} else if of, ok := spec.AsideOf(d.ID); ok && of == r.volume {
			asides = append(asides, d)
		}
	}
	return disk, asides
}

// source finds the snapshot to restore.
func (r *revert) source(ctx context.Context, disk *truenas.Dataset, asides []truenas.Dataset) (truenas.Snapshot, error) {
	var ids []string
	if disk != nil {
		ids = append(ids, disk.ID+"@"+r.name)
	}
	for _, d := range asides {
		ids = append(ids, d.ID+"@"+r.name)
	}
	found, err := r.s.nas.Snapshots.Find(ctx, ids...)
	if err != nil {
		return truenas.Snapshot{}, err
	}
	for _, snap := range found {
		if r.s.tookOf(r.vm, snap) {
			return snap, nil
		}
	}
	return truenas.Snapshot{}, refusal.Aborted("snapshot %s was deleted meanwhile", r.name)
}
