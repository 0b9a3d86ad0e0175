package sim

import (
	"encoding/json"
	"sort"
	"strconv"
	"strings"
)

func datasetUpdate(c *call) (any, error) {
	var id string
	var raw json.RawMessage
	if err := c.args([]string{"id", "data"}, &id, &raw); err != nil {
		return nil, err
	}
	p := blankDataset()
	bad := c.decodeBranch(updateBranch, "data", raw, &p)
	checkUnions(&p, "data", &bad)
	if err := bad.err(); err != nil {
		return nil, err
	}
	if err := extraInputs(raw, "data", createOnly); err != nil {
		return nil, err
	}
	s := &c.sim.state
	d := s.Datasets[id]
	if d == nil || c.release().hidden(id) {
		return nil, invalid{{"id", id + " does not exist", eNOENT}}
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
	row := c.shownWhole(d)
	c.sim.emit(datasetEvents, "changed", d.Name, row)
	return row, nil
}

// updateUser sets user properties. A list under user_properties replaces all visible ones, including inherited ones.
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
	for i, u := range p.UserPropertiesUpdate {
		field := at + ".user_properties_update." + strconv.Itoa(i)
		switch {
		case u.Remove && u.Value != nil:
			v.add(field+".remove", eINVAL, "When \"value\" is specified, this cannot be set")
		case !u.Remove && u.Value == nil:
			v.add(field+".value", eINVAL, "Either \"value\" or \"remove\" must be specified")
		}
	}
	if len(p.UserProperties) > 0 && len(p.UserPropertiesUpdate) > 0 {
		v.add(at+".user_properties_update", eINVAL, "Should not be specified when \"user_properties\" are explicitly specified")
	}
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

// grow enlarges a volume. A volume with the reservation that ZFS computes stays thick; those of 26 and later have another
// reservation. A running guest sees the new size after its next power cycle.
func (s *state) grow(d *dataset, size int64) {
	if d.RefReservation == thick(d.Size, d.BlockSize) {
		d.RefReservation = thick(size, d.BlockSize)
	}
	d.Size = size
	s.touch(d)
}

// destroy removes a dataset and all datasets below it, unless a clone elsewhere, a hold or an open volume protects one of them.
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

// datasetPromote swaps the roles of a clone and its origin: the snapshots up to the shared one move to the clone.
func datasetPromote(c *call) (any, error) {
	var id string
	if err := c.args([]string{"id"}, &id); err != nil {
		return nil, err
	}
	s := &c.sim.state
	d := s.Datasets[id]
	if d == nil {
		return nil, c.noPromotion(id)
	}
	shared := s.Snapshots[d.Origin]
	if shared == nil {
		return nil, c.notPromoted(id)
	}
	s.promote(d, s.Datasets[shared.Dataset], shared)
	return nil, nil
}

func (c *call) noPromotion(id string) error {
	if c.release() >= v26 {
		return refuse("zfs.resource.promote", eNOENT, "'%s' not found", id)
	}
	return fail(eNOENT, "Dataset \"%s\" does not exist.", id)
}

func (c *call) notPromoted(id string) error {
	if c.release() >= v26 {
		return refuse("zfs.resource.promote", eINVAL, "'%s' is ineligible for promotion.", id)
	}
	return fail(eBADMSG, "Only cloned datasets can be promoted.")
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
