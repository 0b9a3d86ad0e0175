package sim

import "strings"

type renameOptions struct {
	NewName   string `json:"new_name" sim:"required,minlen=1"`
	Recursive bool   `json:"recursive"`
	Force     bool   `json:"force"`
}

// unforced is the error for a rename without force.
func unforced(at string) error {
	return refuse(at, eINVAL, "No safety checks are performed when renaming ZFS resources; this may break existing usages. If you understand the risks, please set force and proceed.")
}

// datasetRename renames a dataset and the datasets below it.
func datasetRename(c *call) (any, error) {
	var id string
	var o renameOptions
	if err := c.args([]string{"id", "data"}, &id, &o); err != nil {
		return nil, err
	}
	if !o.Force {
		return nil, unforced("pool.dataset.rename.force")
	}
	s := &c.sim.state
	d := s.Datasets[id]
	switch parent := s.Datasets[parentOf(o.NewName)]; {
	case d == nil:
		return nil, fail(eNOENT, "Dataset '%s' not found", id)
	case s.Datasets[o.NewName] != nil:
		return nil, alreadyThere(c.release(), "cannot rename '%s': dataset already exists", id)
	case parent == nil || parent.Volume || parent.pool() != d.pool() || strings.HasPrefix(o.NewName, id+"/"):
		return nil, fail(eFAULT, "cannot rename '%s': '%s' cannot hold it", id, o.NewName)
	case s.busyBelow(d):
		return nil, fail(eBUSY, "cannot rename '%s': dataset is busy", id)
	}
	for _, x := range s.Datasets {
		if x.EncryptionRoot == id || strings.HasPrefix(x.EncryptionRoot, id+"/") {
			x.EncryptionRoot = o.NewName + strings.TrimPrefix(x.EncryptionRoot, id)
		}
	}
	for _, x := range s.below(d) {
		s.rename(x, o.NewName+strings.TrimPrefix(x.Name, id))
	}
	return nil, nil
}

func (s *state) busyBelow(d *dataset) bool {
	for _, x := range s.below(d) {
		if s.open(x) {
			return true
		}
	}
	return false
}

func (s *state) rename(d *dataset, name string) {
	s.touch(d)
	if parent := s.Datasets[parentOf(d.Name)]; parent != nil {
		delete(parent.children, d.Name)
	}
	delete(s.Datasets, d.Name)
	for _, n := range d.snaps {
		old := n.id()
		delete(s.Snapshots, old)
		n.Dataset = name
		s.Snapshots[n.id()] = n
		for _, clone := range s.clones(old) {
			s.Datasets[clone].Origin = n.id()
		}
	}
	d.Name, d.children = name, nil
	s.add(d)
}
