package sim

import (
	"strings"
)

type snapshotDeleteOptions struct {
	Defer     bool `json:"defer"`
	Recursive bool `json:"recursive"`
}

func snapshotDelete(c *call) (any, error) {
	var id string
	var o snapshotDeleteOptions
	if err := c.args([]string{"id", "options"}, &id, &o); err != nil {
		return nil, err
	}
	s := &c.sim.state
	n := s.Snapshots[id]
	late := c.release() >= v26
	switch {
	case late && !strings.Contains(id, "@"):
		return nil, refuse("pool.snapshot.delete", eINVAL, "Invalid snapshot name: '%s'", id)
	case n == nil && late:
		return nil, missing("'%s' not found", id)
	case n == nil:
		return nil, missing("Snapshot %s not found", id)
	}
	c.overlap()
	if s.Snapshots[id] != n {
		return nil, missing("Snapshot %s not found", id)
	}
	result, err := s.deleteAs(c.release(), n, o)
	if err == nil {
		c.sim.emit(snapshotEvents, "removed", id, nil)
	}
	return result, err
}

func (s *state) deleteAs(r release, n *snapshot, o snapshotDeleteOptions) (any, error) {
	switch {
	case r < v26:
		return s.deleteSnapshots(n, o)
	case o.Recursive:
		return s.deleteSnapshotsByProgram(n, o)
	}
	return s.deleteSnapshotLate(n, o)
}

// deleteSnapshots is the deletion up to 25.10: all or none.
func (s *state) deleteSnapshots(n *snapshot, o snapshotDeleteOptions) (any, error) {
	list := s.same(n, o.Recursive)
	for _, n := range list {
		clones := s.clones(n.id())
		switch {
		case o.Defer: // ZFS takes it down as soon as nothing depends on it.
		case len(clones) > 0 && o.Recursive:
			return nil, fail(eFAULT, "cannot destroy snapshot %s: snapshot is cloned", n.id())
		case len(clones) > 0:
			var v invalid
			v.add("options.defer", eINVAL, "Please set this attribute as '%s' snapshot has dependent clones: %s", n.id(), strings.Join(clones, ", "))
			return nil, v.err()
		case n.busy() && o.Recursive:
			return nil, fail(eFAULT, "cannot destroy snapshot %s: it's being held. Run 'zfs holds -r %s' to see holders.", n.id(), n.id())
		case n.busy():
			return nil, fail(eFAULT, "cannot destroy '%s': dataset is busy", n.id())
		}
	}
	for _, n := range list {
		s.dropOrMark(n, o.Defer)
	}
	return true, nil
}

func (s *state) dropOrMark(n *snapshot, later bool) {
	if !later {
		s.drop(n)
		return
	}
	n.Going = true
	s.release(n)
}

// deleteSnapshotLate is the deletion of one snapshot from 26 on.
func (s *state) deleteSnapshotLate(n *snapshot, o snapshotDeleteOptions) (any, error) {
	const at = "zfs.resource.snapshot.destroy"
	switch clones := s.clones(n.id()); {
	case n.Held:
		return nil, refuse(at, eBUSY, "'%s' has the following holds: truenas", n.id())
	case len(clones) > 0 && !o.Defer:
		return nil, refuse(at, eBUSY, "'%s' has the following clones: %s", n.id(), strings.Join(clones, ","))
	case n.busy() && !o.Defer:
		return nil, refuse(at, eBUSY, "Failed to destroy '%s': dataset is busy", n.id())
	}
	s.dropOrMark(n, o.Defer)
	return true, nil
}

// deleteSnapshotsByProgram is the recursive deletion from 26 on. It also destroys the clones of the snapshots, releases holds,
// and continues after a failure.
func (s *state) deleteSnapshotsByProgram(n *snapshot, o snapshotDeleteOptions) (any, error) {
	list := s.same(n, true)
	if o.Defer {
		for _, n := range list {
			s.dropOrMark(n, true)
		}
		return true, nil
	}
	var clones, kept []string
	for _, n := range list {
		n.Held = false
		s.dropWithClones(n)
		if s.Snapshots[n.id()] == n {
			kept = append(kept, n.id())
			clones = append(clones, s.clones(n.id())...)
		}
	}
	if len(kept) == 0 {
		return true, nil
	}
	text := "Failed to destroy '" + n.id() + "'"
	if len(clones) > 0 {
		text += " There are clones (" + strings.Join(clones, ",") + ")"
	}
	return nil, refuse("zfs.resource.snapshot.destroy", eBUSY, "%s", text)
}
