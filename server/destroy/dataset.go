package destroy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// busyTimeout bounds how long a dataset may stay busy after its VM is gone; the manager waits two minutes for Delete.
const busyTimeout = 60 * time.Second

// destroyWidth is how many snapshots or volumes are destroyed in parallel.
const destroyWidth = 4

// Dataset removes a dataset of this provider with its contents, and no other object. An absent dataset is success.
//
// Each call destroys one snapshot, volume or file system and is never recursive. ZFS itself refuses such a call while another
// object depends on its target: a clone or a hold on a snapshot, a child or a snapshot of a dataset. This check protects the data
// of other clients of the NAS: a clone that is made before the destruction of a snapshot keeps the snapshot, and a clone after it
// fails. A recursive destroy has no such protection, because TrueNAS 26 and 27 destroy the clones too, in every dataset.
//
// Before it changes anything, Dataset refuses with the names of all dependents. TrueNAS 26 and 27 report success for a dataset that
// they could not destroy, so that Dataset verifies the result; a dataset that remains is [truenas.ErrBusy].
func Dataset(ctx context.Context, nas *truenas.Client, dataset string) error {
	err := RetryBusy(ctx, func() error {
		// Most datasets are bare, and need no survey.
		if err := BareDataset(ctx, nas, dataset); !errors.Is(err, truenas.ErrNotEmpty) {
			return err
		}
		found, err := Survey(ctx, nas, dataset)
		if err != nil {
			return err
		}
		if err := found.free(); err != nil {
			return err
		}
		if err := found.Empty(ctx, nas); err != nil {
			return err
		}
		return BareDataset(ctx, nas, dataset)
	})
	if err != nil {
		return fmt.Errorf("dataset %s: %w", dataset, err)
	}
	return nil
}

// RetryBusy retries a removal while the hypervisor still holds a volume, while new objects appear in a dataset, and after a lost
// connection.
func RetryBusy(ctx context.Context, remove func() error) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := remove()
		for _, passes := range []error{truenas.ErrBusy, truenas.ErrNotEmpty, truenas.ErrUncertain, truenas.ErrUnavailable} {
			if errors.Is(err, passes) {
				return struct{}{}, err
			}
		}
		if err != nil {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithMaxElapsedTime(busyTimeout))
	if errors.Is(err, truenas.ErrNotEmpty) {
		return fmt.Errorf("%w: other clients keep creating objects in it: %w", truenas.ErrBusy, refusal.Hide(err))
	}
	return err
}

// Empty destroys the contents of a survey, except for the file systems at the top. It begins with objects without
// dependents: snapshots, then the volumes without snapshots, then the origins of destroyed clones.
func (c *Contents) Empty(ctx context.Context, nas *truenas.Client) error {
	snapshots, datasets := c.Snapshots, c.below()
	for len(snapshots)+len(datasets) > 0 {
		origins, kept := map[string]bool{}, map[string]bool{}
		for _, d := range datasets {
			origins[d.Origin] = true
		}
		now, later := split(snapshots, func(s truenas.Snapshot) bool { return !origins[s.ID] })
		if err := Snapshots(ctx, nas, now); err != nil {
			return err
		}
		for _, s := range later {
			kept[s.Dataset] = true
		}
		bare, rest := split(datasets, func(d truenas.Dataset) bool { return !kept[d.ID] })
		if len(now)+len(bare) == 0 {
			return fmt.Errorf("%w: %s and %s depend on each other", truenas.ErrBusy, snapshots[0].ID, datasets[0].ID)
		}
		err := inParallel(bare, func(d truenas.Dataset) error { return BareDataset(ctx, nas, d.ID) })
		if err != nil {
			return err
		}
		snapshots, datasets = later, rest
	}
	return nil
}

// Snapshots destroys single snapshots, beginning with the snapshot that makes a volume an image: if a clone keeps it, the
// image stays as it is.
func Snapshots(ctx context.Context, nas *truenas.Client, snapshots []truenas.Snapshot) error {
	drop := func(s truenas.Snapshot) error { return Snapshot(ctx, nas, s.ID) }
	first, rest := split(snapshots, func(s truenas.Snapshot) bool { return s.Name == spec.ReadySnapshot })
	if err := inParallel(first, drop); err != nil {
		return err
	}
	return inParallel(rest, drop)
}

// Snapshot destroys one snapshot. An absent snapshot is success.
func Snapshot(ctx context.Context, nas *truenas.Client, id string) error {
	err := deleteSnapshot(ctx, nas, id, truenas.SnapshotDelete{})
	switch {
	case errors.Is(err, truenas.ErrHasClones):
		return fmt.Errorf("snapshot %s was cloned meanwhile: %w", id, err)
	case errors.Is(err, truenas.ErrHeld), errors.Is(err, truenas.ErrBusy):
		return heldBy(ctx, nas, id, err)
	}
	return err
}

// heldBy distinguishes a snapshot with a hold from one that is busy for a moment: up to 25.10 TrueNAS reports both with the
// same error.
func heldBy(ctx context.Context, nas *truenas.Client, id string, busy error) error {
	s, err := nas.Snapshots.Inspect(ctx, id)
	switch {
	case errors.Is(err, truenas.ErrNotFound):
		return nil
	case err != nil:
		return err
	case len(s.Holds) > 0:
		return HeldError(s)
	}
	return busy
}

// inParallel calls do for each element, some at a time. After a failure it still waits for the other calls.
func inParallel[T any](list []T, do func(T) error) error {
	var g errgroup.Group
	g.SetLimit(destroyWidth)
	for _, one := range list {
		g.Go(func() error { return do(one) })
	}
	return g.Wait()
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

// BareDataset destroys a dataset without children and snapshots; otherwise it returns [truenas.ErrNotEmpty]. An absent
// dataset is success.
func BareDataset(ctx context.Context, nas *truenas.Client, id string) error {
	list := func() (int, error) {
		found, err := nas.Datasets.List(ctx, truenas.Where("id", id))
		return len(found), err
	}
	err := nas.Datasets.Delete(ctx, id, truenas.DatasetDelete{})
	if err != nil || !nas.Release().AtLeast(truenas.R26) {
		return vanished(err, list)
	}
	switch left, err := list(); {
	case err != nil:
		return err
	case left > 0:
		return fmt.Errorf("%w: TrueNAS reports %s as destroyed and still lists it", truenas.ErrBusy, id)
	}
	return nil
}

// SnapshotsNamed destroys the snapshots with one name of a dataset and of its children, one by one, except for those in
// except. It destroys the snapshot of the dataset itself last, because that snapshot records the owner of all.
func SnapshotsNamed(ctx context.Context, nas *truenas.Client, tree, name string, except ...string) error {
	datasets, err := nas.Datasets.List(ctx, treeFilters(tree)...)
	if err != nil {
		return err
	}
	var below []string
	for _, d := range datasets {
		if d.ID != tree && !slices.Contains(except, d.ID+"@"+name) {
			below = append(below, d.ID)
		}
	}
	if err := dropOf(ctx, nas, below, name); err != nil {
		return err
	}
	return dropOf(ctx, nas, []string{tree}, name)
}

// dropOf destroys the snapshots of one name of these datasets. It first reads which of them have the snapshot, because most have
// none when a removal is repeated.
func dropOf(ctx context.Context, nas *truenas.Client, datasets []string, name string) error {
	if len(datasets) == 0 {
		return nil
	}
	names, err := nas.Snapshots.Names(ctx, datasets...)
	if err != nil {
		return err
	}
	var wanted []string
	for _, d := range datasets {
		if id := d + "@" + name; slices.Contains(names, id) {
			wanted = append(wanted, id)
		}
	}
	return inParallel(wanted, func(id string) error { return Snapshot(ctx, nas, id) })
}
