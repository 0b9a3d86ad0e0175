package sim

func snapshotHold(c *call) (any, error) {
	list, err := c.toHold("hold")
	if err != nil {
		return nil, err
	}
	for _, n := range list {
		if n.Held && c.release() < v26 {
			return nil, fail(eFAULT, "Failed to hold snapshot: cannot hold snapshot '%s': tag already exists on this dataset", n.id())
		}
		if n.Held {
			return nil, uncaught("ZFSCoreException", "Operation failed")
		}
	}
	for _, n := range list {
		n.Held = true
	}
	return nil, nil
}

// snapshotRelease removes all holds from a snapshot. It succeeds without holds, too.
func snapshotRelease(c *call) (any, error) {
	list, err := c.toHold("release")
	if err != nil {
		return nil, err
	}
	for _, n := range list {
		n.Held = false
		c.sim.state.release(n)
	}
	return nil, nil
}

// toHold lists the snapshots that a call names: one, or all with its name below its dataset.
func (c *call) toHold(doing string) ([]*snapshot, error) {
	var id string
	var o struct {
		Recursive bool `json:"recursive"`
	}
	if err := c.args([]string{"id", "options"}, &id, &o); err != nil {
		return nil, err
	}
	n := c.sim.state.Snapshots[id]
	if n == nil {
		return nil, c.noSnapshot(doing, id)
	}
	return c.sim.state.same(n, o.Recursive), nil
}
