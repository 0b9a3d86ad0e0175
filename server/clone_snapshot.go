package server

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/lease"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// fullSnapshot is the prefix of the snapshots of full clones.
const fullSnapshot = spec.CloneSnapshot + "full-"

// freshFor is the maximum age of an unused snapshot that an attempt takes over from an earlier one; the manager gives one attempt
// five minutes. An older snapshot no longer shows the current source.
const freshFor = 10 * time.Minute

// maxCloneNames bounds the snapshots that carry a clone's name: TrueNAS keeps a snapshot while any object depends on it, even after
// the clone that it was taken for is gone.
const maxCloneNames = 20

// snapshotName returns the n-th name to try. A full clone uses a different prefix, so that no object ever depends on its snapshot.
// No name on the NAS has a hyphen.
func (c *cloning) snapshotName(n int) string {
	name := fullSnapshot
	if c.linked {
		name = spec.CloneSnapshot
	}
	name += c.want.OnNAS()
	if n > 1 {
		name += fmt.Sprintf("-%d", n)
	}
	return name
}

// take takes a snapshot of the source for the plan's disks.
func (c *cloning) take(ctx context.Context, p *plan, trees []string) error {
	for n := 1; n <= maxCloneNames; n++ {
		taken, err := c.takeAs(ctx, p, trees, c.snapshotName(n))
		if err != nil {
			return err
		}
		if taken {
			c.use(p, c.snapshotName(n))
			return nil
		}
	}
	return refusal.FailedPrecondition("target_name: %d snapshots of VM %q have the name of this clone and belong to other clones; choose another name", maxCloneNames, vmrecord.Name(c.source))
}

// use names the snapshot in the plan.
func (c *cloning) use(p *plan, name string) {
	c.snapshot = name
	for i := range p.disks {
		d := &p.disks[i]
		for _, from := range []*string{&d.clone, &d.copy} {
			if volume, _, ok := strings.Cut(*from, "@"); ok {
				*from = volume + "@" + name
			}
		}
	}
}

// takeAs takes a snapshot of this name, or takes over an existing one that was taken for this clone. It returns false when the name
// belongs to a deleted clone whose snapshot is still in use.
func (c *cloning) takeAs(ctx context.Context, p *plan, trees []string, name string) (bool, error) {
	for try := 1; ; try++ {
		err := c.freeze(ctx, p, trees, name)
		if !errors.Is(err, truenas.ErrExists) {
			return err == nil, err
		}
		left, err := c.left(ctx, p, trees, name)
		switch {
		case err != nil:
			return false, err
		case left.ours || left.complete && (left.fresh || p.resumed) && !left.theirs:
			return true, nil
		case left.theirs:
			return false, nil
		case try == lease.Tries:
			return false, fmt.Errorf("snapshot %s of VM %q is being created by another client: %w", name, vmrecord.Name(c.source), truenas.ErrBusy)
		}
		for _, id := range left.ids {
			if err := destroy.Snapshot(ctx, c.s.nas, id); err != nil {
				return false, err
			}
		}
	}
}

func (c *cloning) freeze(ctx context.Context, p *plan, trees []string, name string) error {
	for _, tree := range trees {
		create := truenas.SnapshotCreate{Dataset: tree, Name: name, Recursive: true, UserProperties: map[string]string{spec.PropProvider: c.s.cfg.ID, spec.PropVM: p.id}}
		if _, err := c.s.nas.Snapshots.Create(ctx, create); err != nil {
			return err
		}
	}
	return nil
}

// leftSnapshot is the state of an existing snapshot on the NAS.
type leftSnapshot struct {
	ids      []string
	complete bool // it covers every disk of the source
	fresh    bool
	ours     bool // disks of this clone were made from it
	theirs   bool // other objects depend on it, or another client took it
}

func (c *cloning) left(ctx context.Context, p *plan, trees []string, name string) (leftSnapshot, error) {
	volumes := vmrecord.Disks(c.source)
	var snapshots []truenas.Snapshot
	var clones []truenas.Dataset
	origins := make([]string, len(volumes))
	for i, volume := range volumes {
		origins[i] = volume + "@" + name
	}
	// The query names each id: any other query makes releases up to 25.10 read every snapshot of the NAS.
	var of []string
	for _, dataset := range slices.Concat(trees, volumes) {
		of = append(of, dataset+"@"+name)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		snapshots, err = c.s.nas.Snapshots.Find(gctx, of...)
		return
	})
	g.Go(func() (err error) {
		clones, err = c.s.nas.Datasets.List(gctx, truenas.AnyOf(truenas.Cond("origin.rawvalue", "in", origins), truenas.Cond("id", "^", p.dataset+"/")))
		return
	})
	if err := g.Wait(); err != nil {
		return leftSnapshot{}, err
	}
	left := leftSnapshot{fresh: true}
	for _, snapshot := range snapshots {
		left.ids = append(left.ids, snapshot.ID)
		left.fresh = left.fresh && time.Since(snapshot.CreatedAt) < freshFor
		left.theirs = left.theirs || snapshot.UserProperties[spec.PropProvider] != c.s.cfg.ID
	}
	left.complete = len(snapshots) == len(trees)+len(volumes)
	for _, clone := range clones {
		made := slices.ContainsFunc(p.disks, func(d plannedDisk) bool { return d.volume == clone.ID })
		left.ours = left.ours || made && (!c.linked || slices.Contains(origins, clone.Origin))
		left.theirs = left.theirs || slices.Contains(origins, clone.Origin) && path.Dir(clone.ID) != p.dataset
	}
	left.ours = left.ours && !left.theirs
	return left, nil
}
