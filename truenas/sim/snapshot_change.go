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
	if c.release() >= v26 {
		return nil, nil // Rule 3: the release has not implemented it.
	}
	n := c.sim.state.Snapshots[id]
	if n == nil {
		return nil, fail(eFAULT, "Snapshot %s not found", id)
	}
	for _, u := range p.Update {
		n.user()[u.Key] = u.Value
	}
	for _, key := range p.Remove {
		delete(n.User, key)
	}
	return c.snapshotRow(n, snapshotView{}), nil
}

// snapshotRename renames a snapshot of a dataset. It requires force.
func snapshotRename(c *call) (any, error) {
	var id string
	var o renameOptions
	if err := c.args([]string{"id", "options"}, &id, &o); err != nil {
		return nil, err
	}
	s := &c.sim.state
	dataset, _, _ := strings.Cut(id, "@")
	to, name, ok := cutSnapshot(o.NewName)
	n := s.Snapshots[id]
	switch {
	case !o.Force:
		return nil, unforced("pool.snapshot.rename.force")
	case to != dataset:
		return nil, refuse("pool.snapshot.rename.new_name", eINVAL, "Old and new snapshot must be part of the same ZFS dataset")
	case n == nil:
		return nil, c.noSnapshot("rename", id)
	case !ok || s.Snapshots[o.NewName] != nil:
		return nil, fail(eFAULT, "Failed to rename snapshot: cannot rename to '%s': dataset already exists", o.NewName)
	}
	delete(s.Snapshots, id)
	n.Name = name
	s.Snapshots[n.id()] = n
	for _, clone := range s.clones(id) {
		s.Datasets[clone].Origin = n.id()
	}
	return nil, nil
}

// noSnapshot is the error of a method for a snapshot that does not exist.
func (c *call) noSnapshot(doing, id string) error {
	if c.release() >= v26 {
		return uncaught("ZFSPathNotFoundException", "'%s' not found", id)
	}
	return fail(eFAULT, "Failed to %s snapshot: Snapshot %s not found", doing, id)
}

// same lists a snapshot and the snapshots with its name below its dataset.
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
	if n == nil {
		return nil, c.noSnapshot("clone", p.Snapshot)
	}
	if s.locked(s.Datasets[n.Dataset]) {
		return nil, c.notCloned(p.Dst, "encryption key not loaded")
	}
	if reason := s.invalidCloneName(n, p.Dst); reason != "" {
		return nil, c.notCloned(p.Dst, reason)
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

// notCloned is the error for a clone that ZFS refuses.
func (c *call) notCloned(dst, reason string) error {
	if c.release() >= v26 && reason == "dataset already exists" {
		return uncaught("ZFSPathAlreadyExistsException", "'%s' already exists", dst)
	}
	return fail(eFAULT, "Failed to clone snapshot: cannot create '%s': %s", dst, reason)
}

// invalidCloneName returns the reason why ZFS refuses a clone under a name.
func (s *state) invalidCloneName(n *snapshot, dst string) string {
	parent := s.Datasets[parentOf(dst)]
	bad := strings.IndexFunc(dst, func(r rune) bool { return r > 127 || !isAlphanumeric(byte(r)) && !strings.ContainsRune("-_.: /", r) })
	switch {
	case s.Datasets[dst] != nil:
		return "dataset already exists"
	case bad >= 0:
		return "invalid character '" + dst[bad:bad+1] + "' in name"
	case !strings.Contains(dst, "/") || !validDatasetName(dst):
		return "invalid name"
	case s.Datasets[poolOf(dst)] == nil:
		return "no such pool '" + poolOf(dst) + "'"
	case parent == nil:
		return "parent does not exist"
	case parent.Volume:
		return "parent is not a filesystem"
	case parent.pool() != poolOf(n.Dataset):
		return "source and target pools differ"
	}
	return ""
}

// setAny sets a property by ZFS's name, for the properties of a clone.
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
			setNative(d, key, text)
		} else {
			d.Reservation = size
		}
	case key == "volsize" && d.Volume && notSize == nil && size > 0 && size%d.BlockSize == 0:
		d.Size = size
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
