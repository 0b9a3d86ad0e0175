package sim

import (
	"slices"
	"strings"
)

type rollbackOptions struct {
	Recursive       bool `json:"recursive"`
	RecursiveClones bool `json:"recursive_clones"`
	Force           bool `json:"force"`
	RecursiveBack   bool `json:"recursive_rollback"`
}

// snapshotRollback does not check whether a VM uses the dataset.
func snapshotRollback(c *call) (any, error) {
	var id string
	var o rollbackOptions
	if err := c.args([]string{"id", "options"}, &id, &o); err != nil {
		return nil, err
	}
	s := &c.sim.state
	n := s.Snapshots[id]
	if n == nil {
		return nil, c.noRollback(id)
	}
	if c.release() >= v26 {
		return nil, s.rollbackLate(n, o)
	}
	list := s.same(n, o.RecursiveBack)
	if below := s.below(s.Datasets[n.Dataset]); o.RecursiveBack && len(list) < len(below) {
		return nil, fail(eFAULT, "Failed to rollback snapshot: not every dataset below %s has a snapshot %s", n.Dataset, n.Name)
	}
	for _, n := range list {
		if err := s.canRollback(n, o); err != nil {
			return nil, err
		}
	}
	for _, n := range list {
		if err := s.rollback(n); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (c *call) noRollback(id string) error {
	dataset, _, ok := strings.Cut(id, "@")
	switch {
	case c.release() >= v26 && !ok:
		return uncaught("ZFSPathNotASnapshotException", "'%s' must be a snapshot path (containing '@')", id)
	case c.release() >= v26:
		return uncaught("ZFSPathNotFoundException", "'%s' not found", id)
	case !ok:
		return fail(eFAULT, "Failed to rollback snapshot: cannot open '%s': missing '@' delimiter in snapshot name", dataset)
	}
	return fail(eFAULT, "Failed to rollback snapshot: cannot open '%s': dataset does not exist", id)
}

func (s *state) newer(n *snapshot) []*snapshot {
	var newer []*snapshot
	for _, other := range s.Datasets[n.Dataset].snaps {
		if other.Txg > n.Txg {
			newer = append(newer, other)
		}
	}
	return newer
}

// canRollback makes the checks of "zfs rollback", which TrueNAS uses up to 25.10.
func (s *state) canRollback(n *snapshot, o rollbackOptions) error {
	newer := s.newer(n)
	if len(newer) > 0 && !o.Recursive && !o.RecursiveClones {
		return fail(eFAULT, "Failed to rollback snapshot: cannot rollback to '%s': more recent snapshots or bookmarks exist\nuse '-r' to force deletion of the following snapshots and bookmarks:\n%s", n.id(), strings.Join(ids(newer), "\n"))
	}
	for _, other := range newer {
		if clones := s.clones(other.id()); len(clones) > 0 && !o.RecursiveClones {
			return fail(eFAULT, "Failed to rollback snapshot: cannot rollback to '%s': clones of previous snapshots exist: %s", n.id(), strings.Join(clones, ", "))
		}
		if other.busy() {
			return fail(eFAULT, "Failed to rollback snapshot: cannot destroy snapshot '%s': dataset is busy", other.id())
		}
	}
	return nil
}

func (s *state) rollback(n *snapshot) error {
	for _, other := range s.newer(n) {
		for _, clone := range s.clones(other.id()) {
			if err := s.destroy(s.Datasets[clone]); err != nil {
				return err
			}
		}
		s.drop(other)
	}
	d := s.Datasets[n.Dataset]
	d.Data, d.Files = n.Data, frozenFiles(n.Files)
	if d.Volume {
		if d.RefReservation == d.Size {
			d.RefReservation = n.Size
		}
		d.Size = n.Size
	}
	s.touch(d)
	return nil
}

// rollbackLate is the rollback from 26 on. It rolls back one dataset after the other, the parents first, and destroys the newer
// snapshots that it can destroy, the newest first. A failure ends it, and what it did until then remains.
func (s *state) rollbackLate(to *snapshot, o rollbackOptions) error {
	datasets := []*dataset{s.Datasets[to.Dataset]}
	if o.RecursiveBack {
		datasets = s.below(datasets[0])
	}
	for _, d := range datasets {
		n := s.Snapshots[d.Name+"@"+to.Name]
		if n == nil {
			return uncaught("ZFSPathNotFoundException", "'%s@%s' not found", d.Name, to.Name)
		}
		if o.Recursive || o.RecursiveClones {
			s.dropNewer(n, o.RecursiveClones)
		}
		if newer := s.newer(n); len(newer) > 0 {
			return uncaught("ValueError", "Cannot rollback: more recent snapshots or bookmarks exist. Please pass `recursive: true` to delete the following snapshots and bookmarks recursively:\n  %s", strings.Join(ids(newer), "\n  "))
		}
		if err := s.rollback(n); err != nil {
			return err
		}
	}
	return nil
}

// dropNewer destroys the snapshots that are newer than another one, except those with holds or clones. With clones it also destroys
// the clones that have no snapshots or children.
func (s *state) dropNewer(n *snapshot, clones bool) {
	for _, other := range slices.Backward(s.newer(n)) {
		for _, clone := range s.clones(other.id()) {
			if clones {
				s.destroyOne(s.Datasets[clone])
			}
		}
		if !other.busy() && len(s.clones(other.id())) == 0 {
			s.drop(other)
		}
	}
}
