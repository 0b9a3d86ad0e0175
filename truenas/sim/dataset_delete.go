package sim

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

func datasetDelete(c *call) (any, error) {
	var id string
	var o struct {
		Recursive bool `json:"recursive"`
		Force     bool `json:"force"`
	}
	if err := c.args([]string{"id", "options"}, &id, &o); err != nil {
		return nil, err
	}
	s := &c.sim.state
	d := s.Datasets[id]
	if d != nil && !o.Recursive && len(d.children) > 0 {
		return nil, fail(eNOTEMPTY, "Failed to delete dataset: cannot destroy '%s': filesystem has children", id)
	}
	d, err := c.dataset(id)
	if err != nil {
		return nil, err
	}
	stops, err := c.stopAttached(d)
	if err != nil {
		return nil, err
	}
	c.overlap()
	result, err := c.destroyDataset(d, o.Recursive)
	for _, j := range stops {
		if j.state == jobRunning {
			c.await(j.acted) // ZFS takes longer than the start of such a job.
		}
	}
	return result, err
}

// destroyDataset makes ZFS's part of pool.dataset.delete, unless the dataset was deleted meanwhile.
func (c *call) destroyDataset(d *dataset, recursive bool) (any, error) {
	s := &c.sim.state
	switch id := d.Name; {
	case s.Datasets[id] != d:
		return nil, missing("PoolDataset %s does not exist", id)
	case c.release() >= v26 && c.half:
		if recursive {
			s.destroyWithClones(s.leaf(d))
		}
		return true, nil
	case c.release() >= v26:
		return s.deleteByProgram(d, recursive)
	}
	return s.deleteByCommand(d, recursive)
}

// stopAttached begins to stop the VMs that use the volume, or files or volumes below the file system (rule 6). It does so before
// the call to ZFS, so the VMs stop even if ZFS refuses. Up to 26 it does not wait. From 27 on it waits for one VM after the other.
func (c *call) stopAttached(d *dataset) (stops []*job, err error) {
	for _, m := range c.sim.attached(d) {
		stop := &call{sim: c.sim, session: c.session, method: "vm.stop", params: []json.RawMessage{json.RawMessage(strconv.Itoa(m.ID))}}
		job, err := c.sim.startJob(stop, c.sim.methods["vm.stop"])
		if err != nil {
			return nil, err
		}
		if c.release() >= v27 {
			c.await(job.done)
		}
		stops = append(stops, job)
	}
	return stops, nil
}

// await lets other calls run until a channel is closed or the simulator ends.
func (c *call) await(event <-chan struct{}) {
	c.sim.mu.Unlock()
	defer c.sim.mu.Lock()
	select {
	case <-event:
	case <-c.sim.ctx.Done():
	}
}

// leaf returns the dataset in a tree that is destroyed first.
func (s *state) leaf(d *dataset) *dataset {
	for len(d.children) > 0 {
		d = d.sorted()[0]
	}
	return d
}

// deleteByCommand is "zfs destroy", which TrueNAS uses up to 25.10. It refuses if an outside dataset depends on the tree. After
// an error it continues, and reports the error at the end.
func (s *state) deleteByCommand(d *dataset, recursive bool) (any, error) {
	kind := "filesystem"
	if d.Volume {
		kind = "volume"
	}
	if !recursive && len(d.snaps) > 0 {
		return nil, fail(eFAULT, "Failed to delete dataset: cannot destroy '%s': %s has children\nuse '-r' to destroy the following datasets:\n%s", d.Name, kind, strings.Join(ids(d.snaps), "\n"))
	}
	if clones := s.clonesOutside(d); len(clones) > 0 {
		return nil, fail(eFAULT, "Failed to delete dataset: cannot destroy '%s': %s has dependent clones\nuse '-R' to destroy the following datasets:\n%s", d.Name, kind, strings.Join(clones, "\n"))
	}
	if d.Name == d.pool() {
		return nil, fail(eFAULT, "Failed to delete dataset: cannot destroy '%s': operation does not apply to pools\nuse 'zpool destroy %s' to destroy the pool itself", d.Name, d.Name)
	}
	lines := s.destroyAndContinue(d)
	if len(lines) == 0 {
		return true, nil
	}
	text, errno := strings.Join(lines, "\n"), eFAULT
	if strings.Contains(text, "dataset is busy") {
		errno = eBUSY
	}
	return nil, fail(errno, "Failed to delete dataset: %s", text)
}

// clonesOutside lists the datasets outside of a tree that depend on snapshots in it.
func (s *state) clonesOutside(d *dataset) []string {
	var outside []string
	for _, x := range s.below(d) {
		for _, n := range x.snaps {
			for _, clone := range s.clones(n.id()) {
				if clone != d.Name && !strings.HasPrefix(clone, d.Name+"/") {
					outside = append(outside, clone)
				}
			}
		}
	}
	return outside
}

// destroyAndContinue destroys children first, and all or none of a dataset's snapshots. It returns the objects that it could not
// destroy.
func (s *state) destroyAndContinue(d *dataset) []string {
	if s.Datasets[d.Name] != d {
		return nil // Already destroyed as a clone of another dataset.
	}
	var lines []string
	for _, child := range d.sorted() {
		lines = append(lines, s.destroyAndContinue(child)...)
	}
	kept := 0
	for _, n := range slices.Clone(d.snaps) {
		for _, clone := range s.clones(n.id()) {
			lines = append(lines, s.destroyAndContinue(s.Datasets[clone])...)
		}
		switch {
		case len(s.clones(n.id())) > 0:
			lines = append(lines, "cannot destroy snapshot "+n.id()+": snapshot is cloned")
			kept++
		case n.busy():
			lines = append(lines, "cannot destroy snapshot "+n.id()+": it's being held. Run 'zfs holds -r "+n.id()+"' to see holders.")
			kept++
		}
	}
	switch {
	case kept > 0:
	case len(d.children) > 0:
		lines = append(lines, "cannot destroy '"+d.Name+"': dataset already exists")
	case s.mountBusy(d):
		lines = append(lines, "cannot unmount '"+d.mountpoint()+"': pool or dataset is busy")
	case s.open(d):
		for _, n := range slices.Clone(d.snaps) {
			s.drop(n)
		}
		lines = append(lines, "cannot destroy '"+d.Name+"': dataset is busy")
	default:
		s.remove(d)
	}
	return lines
}

// deleteByProgram is the channel program of 26 and later. It leaves objects that it cannot destroy, and returns true
// nevertheless.
func (s *state) deleteByProgram(d *dataset, recursive bool) (any, error) {
	const at = "zfs.resource.destroy"
	switch {
	case d.Name == d.pool():
		return nil, refuse(at, eINVAL, "Destroying the root filesystem is not allowed.")
	case !recursive && len(d.snaps) > 0:
		return nil, refuse(at, eNOTEMPTY, "'%s' has snapshots. Set recursive=True to remove them.", d.Name)
	case !recursive:
		s.destroyOne(d)
		return true, nil
	}
	for _, x := range s.below(d) {
		if s.mountBusy(x) {
			return nil, uncaught("ZFSException", "cannot unmount '%s': pool or dataset is busy", x.mountpoint())
		}
	}
	if held := s.destroyWithClones(d); len(held) > 0 {
		for _, n := range held {
			n.Held = false
		}
		s.destroyWithClones(d)
	}
	return true, nil
}

// destroyWithClones destroys a tree together with all clones of its snapshots. It skips objects that it cannot destroy, and
// returns the snapshots with holds.
func (s *state) destroyWithClones(d *dataset) []*snapshot {
	var held []*snapshot
	for _, child := range d.sorted() {
		held = append(held, s.destroyWithClones(child)...)
	}
	for _, n := range slices.Clone(d.snaps) {
		held = append(held, s.dropWithClones(n)...)
	}
	s.destroyOne(d)
	return held
}

// dropWithClones destroys a snapshot and those of its clones that have no snapshots or children.
func (s *state) dropWithClones(n *snapshot) []*snapshot {
	for _, clone := range s.clones(n.id()) {
		s.destroyOne(s.Datasets[clone])
	}
	switch {
	case n.Held:
		return []*snapshot{n}
	case !n.busy() && len(s.clones(n.id())) == 0 && s.Snapshots[n.id()] == n:
		s.drop(n)
	}
	return nil
}

// destroyOne destroys a dataset without snapshots or children that is not open.
func (s *state) destroyOne(d *dataset) {
	if s.Datasets[d.Name] != d || len(d.children) > 0 || len(d.snaps) > 0 || s.open(d) || s.mountBusy(d) || d.Name == d.pool() {
		return
	}
	s.remove(d)
}

func ids(list []*snapshot) []string {
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = n.id()
	}
	return out
}
