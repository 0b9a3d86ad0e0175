package server

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"virtrigaud-provider-truenas/truenas"
)

// promoteFolder begins the names of the datasets that say who lets clones go.
const promoteFolder = "promote-"

// handOver gives the snapshots of a VM that is deleted to the linked clones that hang on them.
// One process at a time does it: promoting a clone twice would take the snapshot away from what
// the VM itself was made from.
func (s *Server) handOver(ctx context.Context, r *removal) (err error) {
	release, err := s.alone(ctx, r.datasets[0], "its clones are being let go")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := s.dropUncloned(ctx, r.datasets); err != nil {
		return err
	}
	if err := s.letClonesGo(ctx, r.datasets); err != nil {
		return err
	}
	// Now it is the clones that have the snapshots, and nobody needs them once this VM is gone.
	return s.origins(ctx, r)
}

// alone makes the dataset that says that this process is at work on a VM's dataset, as long as no
// other one is: what is done there must not be done by two at a time.
func (s *Server) alone(ctx context.Context, dataset, doing string) (release func() error, err error) {
	name, lock := path.Base(dataset), s.layout.promote(dataset)
	for try := 1; ; try++ {
		err := s.stage(ctx, lock, name, nil)
		if err == nil {
			return s.heartbeat(ctx, lock, nil), nil
		}
		if !errors.Is(err, truenas.ErrExists) {
			return nil, err
		}
		holder, err := s.nas.Datasets.Get(ctx, lock)
		switch {
		case err != nil && !errors.Is(err, truenas.ErrNotFound):
			return nil, err
		case err == nil && s.alive(&holder), try == createTries:
			return nil, fmt.Errorf("%s: %s by another replica: %w", name, doing, truenas.ErrBusy)
		case err == nil:
			if err := destroy(ctx, s.nas, lock); err != nil {
				return nil, err
			}
		}
	}
}

// takenElsewhere says whether another replica is at work on a VM's dataset.
func (s *Server) takenElsewhere(ctx context.Context, dataset string) (bool, error) {
	lock, err := s.nas.Datasets.Get(ctx, s.layout.promote(dataset))
	if errors.Is(err, truenas.ErrNotFound) {
		return false, nil
	}
	return err == nil && s.alive(&lock), err
}

// leftPromotes are such datasets of processes that are not there any more.
func (s *Server) leftPromotes(r *removal, all []truenas.Dataset) []string {
	var left []string
	for _, d := range all {
		ours := d.LocalUserProperties[propProvider] == s.cfg.ID && !s.alive(&d)
		if ours && slices.ContainsFunc(r.datasets, func(dataset string) bool { return s.layout.promote(dataset) == d.ID }) {
			left = append(left, d.ID)
		}
	}
	return left
}

// dropUncloned removes the snapshots that no clone hangs on. They would move over to a clone
// together with the one that it does hang on, and nobody there knows them.
func (s *Server) dropUncloned(ctx context.Context, datasets []string) error {
	clones, err := s.clonesOf(ctx, datasets)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, c := range clones {
		used[c.Origin] = true
	}
	// A query for each, because up to 25.10 one for several of them is refused.
	var snapshots []truenas.Snapshot
	for _, dataset := range datasets {
		list, err := s.nas.Snapshots.List(ctx, truenas.Cond("dataset", "^", dataset+"/"))
		if err != nil {
			return err
		}
		snapshots = append(snapshots, list...)
	}
	for _, snapshot := range snapshots {
		if used[snapshot.ID] {
			continue
		}
		if err := s.dropSnapshot(ctx, snapshot.ID, false); err != nil {
			return err
		}
	}
	return nil
}

// letClonesGo makes the linked clones of a VM's disks independent of it: promoting one moves the
// snapshot that it hangs on, and all older ones, over to it. Each round may show clones of what
// was moved, so it ends when there are none.
func (s *Server) letClonesGo(ctx context.Context, datasets []string) error {
	for {
		clones, err := s.clonesOf(ctx, datasets)
		if err != nil || len(clones) == 0 {
			return err
		}
		if err := s.nas.Datasets.Promote(ctx, clones[0].ID); err != nil {
			return fmt.Errorf("promoting %s: %w", clones[0].ID, err)
		}
	}
}
