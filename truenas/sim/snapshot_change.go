package sim

import (
	"fmt"
	"strings"
)

func snapshotUpdate(c *call) (any, error) {
	var id string
	var p struct {
		Update []userProperty `json:"user_properties_update"`
		Remove []string       `json:"user_properties_remove"`
	}
	if err := c.args([]string{"id", "data"}, &id, &p); err != nil {
		return nil, err
	}
	n, err := c.snapshot(id)
	if err != nil {
		return nil, err
	}
	if c.release() >= v26 {
		return nil, nil // It is not written yet there.
	}
	for _, u := range p.Update {
		n.user()[u.Key] = u.Value
	}
	for _, key := range p.Remove {
		delete(n.User, key)
	}
	return c.snapshotRow(n, snapshotView{}), nil
}

// same lists a snapshot and those of its name below its dataset.
func (s *state) same(n *snapshot, recursive bool) []*snapshot {
	if !recursive {
		return []*snapshot{n}
	}
	var list []*snapshot
	for _, d := range s.below(s.Datasets[n.Dataset]) {
		if other := s.Snapshots[d.Name+"@"+n.Name]; other != nil {
			list = append(list, other)
		}
	}
	return list
}

func snapshotClone(c *call) (any, error) {
	var p struct {
		Snapshot   string         `json:"snapshot" sim:"required,minlen=1"`
		Dst        string         `json:"dataset_dst" sim:"required,minlen=1"`
		Properties map[string]any `json:"dataset_properties"`
	}
	if err := c.args([]string{"data"}, &p); err != nil {
		return nil, err
	}
	s := &c.sim.state
	n := s.Snapshots[p.Snapshot]
	var reason string
	switch parent := s.Datasets[parentOf(p.Dst)]; {
	case n == nil:
		return nil, fail(eNOENT, "Failed to clone snapshot: cannot open '%s': dataset does not exist", p.Snapshot)
	case s.Datasets[p.Dst] != nil:
		return nil, alreadyThere(c.release(), "Failed to clone snapshot: cannot create '%s': dataset already exists", p.Dst)
	case !strings.Contains(p.Dst, "/") || !validDatasetName(p.Dst):
		reason = "invalid name"
	case parent == nil:
		reason = "parent does not exist"
	case parent.Volume:
		reason = "parent is not a filesystem"
	case parent.pool() != poolOf(n.Dataset):
		reason = "source and target pools differ"
	}
	if reason != "" {
		return nil, fail(eFAULT, "Failed to clone snapshot: cannot create '%s': %s", p.Dst, reason)
	}
	d := s.clone(n, p.Dst, c.now())
	for _, key := range userKeys(p.Properties) {
		if err := setAny(d, key, p.Properties[key]); err != nil {
			s.remove(d)
			return nil, err
		}
	}
	s.touch(d)
	return true, nil
}

// setAny takes properties by ZFS's names, as a clone is given them.
func setAny(d *dataset, key string, value any) error {
	text := fmt.Sprint(value)
	if f, ok := value.(float64); ok {
		text = fmt.Sprintf("%.0f", f)
	}
	if key != strings.ToLower(key) {
		return fail(eFAULT, "Failed to clone snapshot: cannot create '%s': invalid property '%s'", d.Name, key)
	}
	if strings.Contains(key, ":") {
		setUser(d, key, text)
		return nil
	}
	var size int64
	_, notSize := fmt.Sscanf(text, "%d", &size)
	switch {
	case (key == "refreservation" || key == "reservation") && (text == "none" || notSize == nil):
		if key == "refreservation" {
			d.RefReservation = size
		} else {
			d.Reservation = size
		}
	case knownNative(key):
		setNative(d, key, text)
	default:
		return fail(eFAULT, "Failed to clone snapshot: cannot create '%s': invalid property '%s'", d.Name, key)
	}
	return nil
}

func knownNative(zfs string) bool {
	for _, n := range nativeDefaults {
		if n.zfs == zfs {
			return true
		}
	}
	return false
}

type rollbackOptions struct {
	Recursive       bool `json:"recursive"`
	RecursiveClones bool `json:"recursive_clones"`
	Force           bool `json:"force"`
	RecursiveBack   bool `json:"recursive_rollback"`
}

// snapshotRollback does not look whether a machine runs on what it rolls back.
func snapshotRollback(c *call) (any, error) {
	var id string
	var o rollbackOptions
	if err := c.args([]string{"id", "options"}, &id, &o); err != nil {
		return nil, err
	}
	n, err := c.snapshot(id)
	if err != nil {
		return nil, err
	}
	s := &c.sim.state
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

func (s *state) newer(n *snapshot) []*snapshot {
	var newer []*snapshot
	for _, other := range s.Datasets[n.Dataset].snaps {
		if other.Txg > n.Txg {
			newer = append(newer, other)
		}
	}
	return newer
}

func (s *state) canRollback(n *snapshot, o rollbackOptions) error {
	newer := s.newer(n)
	if len(newer) > 0 && !o.Recursive && !o.RecursiveClones {
		return fail(eFAULT, "Failed to rollback snapshot: cannot rollback to '%s': more recent snapshots or bookmarks exist: %s", n.id(), newer[len(newer)-1].id())
	}
	for _, other := range newer {
		if clones := s.clones(other.id()); len(clones) > 0 && !o.RecursiveClones {
			return fail(eFAULT, "Failed to rollback snapshot: cannot rollback to '%s': clones of previous snapshots exist: %s", n.id(), strings.Join(clones, ", "))
		}
		if other.busy() {
			return fail(eBUSY, "Failed to rollback snapshot: cannot destroy snapshot '%s': dataset is busy", other.id())
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

// snapshotHold makes hold, and release.
func snapshotHold(held bool) func(*call) (any, error) {
	return func(c *call) (any, error) {
		var id string
		var o struct {
			Recursive bool `json:"recursive"`
		}
		if err := c.args([]string{"id", "options"}, &id, &o); err != nil {
			return nil, err
		}
		n, err := c.snapshot(id)
		if err != nil {
			return nil, err
		}
		for _, n := range c.sim.state.same(n, o.Recursive) {
			n.Held = held
			c.sim.state.release(n)
		}
		return nil, nil
	}
}
