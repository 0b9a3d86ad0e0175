package sim

import (
	"sort"
	"strings"
)

func datasetUpdate(c *call) (any, error) {
	var id string
	p := blankDataset()
	if err := c.args([]string{"id", "data"}, &id, &p); err != nil {
		return nil, err
	}
	if len(c.params) > 1 {
		if err := extraInputs(c.params[1], "data", createOnly); err != nil {
			return nil, err
		}
	}
	s := &c.sim.state
	d, err := s.dataset(id)
	if err != nil {
		return nil, err
	}
	if err := s.checkUpdate(d, &p); err != nil {
		return nil, err
	}
	if p.Volsize != nil {
		s.grow(d, *p.Volsize)
	}
	s.set(d, &p)
	if err := s.updateUser(d, &p); err != nil {
		return nil, err
	}
	return c.shownWhole(d), nil
}

// updateUser sets user properties: a list under user_properties takes the place of all that the
// dataset shows, inherited ones too.
func (s *state) updateUser(d *dataset, p *datasetParams) error {
	if len(p.UserProperties) > 0 {
		d.User = nil
		for _, u := range p.UserProperties {
			setUser(d, u.Key, u.Value)
		}
	}
	shown := s.userProperties(d, v25_04_2)
	var v invalid
	for _, u := range p.UserPropertiesUpdate {
		if _, ok := shown[u.Key]; !ok && u.Remove {
			v.add("properties."+u.Key, eINVAL, "Property does not exist and cannot be inherited")
		}
	}
	if err := v.err(); err != nil {
		return err
	}
	for _, u := range p.UserPropertiesUpdate {
		if u.Remove {
			delete(d.User, u.Key)
		} else if u.Value != nil {
			setUser(d, u.Key, *u.Value)
		}
	}
	return nil
}

func (s *state) checkUpdate(d *dataset, p *datasetParams) error {
	const at = "pool_dataset_update"
	var v invalid
	for _, u := range p.UserPropertiesUpdate {
		if u.Remove == (u.Value != nil) {
			v.add(at+".user_properties_update", eINVAL, "Property %s must be given a value or be removed, and not both", u.Key)
		}
	}
	checkUnions(p, &v)
	if p.Volsize == nil {
		return v.err()
	}
	switch size := *p.Volsize; {
	case !d.Volume:
		v.add(at+".volsize", eINVAL, "This field is not valid for FILESYSTEM")
	case size < d.Size:
		v.add(at+".volsize", eINVAL, "You cannot shrink a zvol from GUI, this may lead to data loss.")
	case size%d.BlockSize != 0:
		v.add(at+".volsize", eINVAL, "Volume size should be a multiple of volume block size")
	case !p.ForceSize && size > (s.available(s.Datasets[parentOf(d.Name)])+s.measure(d).used())/10*8:
		v.add(at+".volsize", eINVAL, "It is not recommended to use more than 80%% of your available space for VOLUME")
	case d.RefReservation > 0 && size-d.RefReservation > s.available(s.Datasets[parentOf(d.Name)]):
		return fail(eFAULT, "Failed to update dataset: cannot set property for '%s': size is greater than available space", d.Name)
	}
	return v.err()
}

// grow makes a volume larger; a thick one stays thick. A guest that runs sees
// it after its next power cycle.
func (s *state) grow(d *dataset, size int64) {
	if d.RefReservation == d.Size {
		d.RefReservation = size
	}
	d.Size = size
	s.touch(d)
}

// destroy removes a dataset with everything below it, unless something holds
// on to any of it: a clone elsewhere, a hold, or an open volume.
func (s *state) destroy(d *dataset) error {
	doomed := s.below(d)
	gone := map[string]bool{}
	for _, x := range doomed {
		gone[x.Name] = true
	}
	for _, x := range doomed {
		if s.open(x) {
			return fail(eBUSY, "Failed to delete dataset: cannot destroy '%s': dataset is busy", x.Name)
		}
		for _, n := range x.snaps {
			if n.busy() {
				return fail(eBUSY, "Failed to delete dataset: cannot destroy snapshot '%s': dataset is busy", n.id())
			}
			if others := without(s.clones(n.id()), gone); len(others) > 0 {
				return fail(eFAULT, "Failed to delete dataset: cannot destroy '%s': volume has dependent clones: %s", x.Name, strings.Join(others, ", "))
			}
		}
	}
	for i := len(doomed) - 1; i >= 0; i-- {
		s.remove(doomed[i])
	}
	return nil
}

func without(names []string, gone map[string]bool) []string {
	var left []string
	for _, name := range names {
		if !gone[name] {
			left = append(left, name)
		}
	}
	return left
}

// datasetPromote turns a clone and its origin around: the snapshots up to the
// one they share move to the clone.
func datasetPromote(c *call) (any, error) {
	var id string
	if err := c.args([]string{"id"}, &id); err != nil {
		return nil, err
	}
	s := &c.sim.state
	d, err := s.dataset(id)
	if err != nil {
		return nil, err
	}
	shared := s.Snapshots[d.Origin]
	if shared == nil {
		return nil, fail(eINVAL, "Only cloned datasets can be promoted.")
	}
	s.promote(d, s.Datasets[shared.Dataset], shared)
	return nil, nil
}

func (s *state) promote(d, from *dataset, shared *snapshot) {
	d.Origin, from.Origin = from.Origin, d.Name+"@"+shared.Name
	var stay []*snapshot
	for _, n := range from.snaps {
		if n.Txg > shared.Txg {
			stay = append(stay, n)
			continue
		}
		old := n.id()
		delete(s.Snapshots, old)
		n.Dataset = d.Name
		s.Snapshots[n.id()] = n
		d.snaps = append(d.snaps, n)
		for _, other := range s.clones(old) {
			s.Datasets[other].Origin = n.id()
		}
	}
	from.snaps = stay
	sort.Slice(d.snaps, func(i, j int) bool { return d.snaps[i].Txg < d.snaps[j].Txg })
	s.touch(d)
	s.touch(from)
}

// datasetRename moves a dataset and what is below it.
func datasetRename(c *call) (any, error) {
	var id string
	var o struct {
		NewName   string `json:"new_name" sim:"required,minlen=1"`
		Recursive bool   `json:"recursive"`
		Force     bool   `json:"force"`
	}
	if err := c.args([]string{"id", "data"}, &id, &o); err != nil {
		return nil, err
	}
	s := &c.sim.state
	d, err := s.dataset(id)
	if err != nil {
		return nil, err
	}
	switch parent := s.Datasets[parentOf(o.NewName)]; {
	case s.Datasets[o.NewName] != nil:
		return nil, alreadyThere(c.release(), "cannot rename '%s': dataset already exists", id)
	case parent == nil || parent.Volume || parent.pool() != d.pool() || strings.HasPrefix(o.NewName, id+"/"):
		return nil, fail(eFAULT, "cannot rename '%s': '%s' is no place for it", id, o.NewName)
	case s.busyBelow(d):
		return nil, fail(eBUSY, "cannot rename '%s': dataset is busy", id)
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
