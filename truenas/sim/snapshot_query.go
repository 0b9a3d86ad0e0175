package sim

import (
	"encoding/json"
	"sort"
	"strings"
)

// snapshotView is the requested content of a snapshot's row.
type snapshotView struct {
	holds      bool
	retention  bool
	properties map[string]bool // by name; nil: all up to 25.10, none from 26 on
	minTxg     int64           // minimum; 0: none
	maxTxg     int64           // maximum; 0: none
}

// within reports whether a snapshot is in the requested transaction groups.
func (v snapshotView) within(n *snapshot) bool {
	return n.Txg >= v.minTxg && (v.maxTxg == 0 || n.Txg <= v.maxTxg)
}

// snapshotView reads the contents of rows from query options.
func (c *call) snapshotView(at int) snapshotView {
	var o struct {
		Extra struct {
			Holds      bool      `json:"holds"`
			Retention  bool      `json:"retention"`
			Properties *[]string `json:"properties"`
			MinTxg     int64     `json:"min_txg"`
			MaxTxg     int64     `json:"max_txg"`
		} `json:"extra"`
	}
	if len(c.params) > at && json.Unmarshal(c.params[at], &o) != nil {
		return snapshotView{} // the query refuses malformed options
	}
	v := snapshotView{holds: o.Extra.Holds, retention: o.Extra.Retention, minTxg: o.Extra.MinTxg, maxTxg: o.Extra.MaxTxg}
	if o.Extra.Properties != nil {
		v.properties = map[string]bool{}
		for _, name := range *o.Extra.Properties {
			v.properties[name] = true
		}
	}
	return v
}

func (s *state) snapshotsByTxg() []*snapshot {
	list := make([]*snapshot, 0, len(s.Snapshots))
	for _, n := range s.Snapshots {
		list = append(list, n)
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].Txg != list[j].Txg {
			return list[i].Txg < list[j].Txg
		}
		return list[i].id() < list[j].id()
	})
	return list
}

func snapshotQuery(c *call) (any, error) {
	v := c.snapshotView(1)
	if c.release() >= v26 {
		return c.snapshotsByPath(v)
	}
	if err := c.checkSnapshotFilters(v); err != nil {
		return nil, err
	}
	keep := c.prefilter()
	c.countRead()
	rows := []map[string]any{}
	for _, id := range userKeys(c.sim.state.Snapshots) {
		if n := c.sim.state.Snapshots[id]; v.within(n) && keep(n.cheap()) {
			rows = append(rows, c.snapshotRow(n, v))
		}
	}
	return query(c, rows)
}

// countRead counts the snapshots that ZFS reads up to 25.10: one if its id is the only filter, those of some datasets or pools if
// the query selects only names, and all otherwise.
func (c *call) countRead() {
	s := &c.sim.state
	if field, op := c.onlyFilter(); op == "=" && (field == "id" || field == "name") {
		c.sim.read++
		return
	}
	paths, rest, pools := c.snapshotPaths()
	if !c.selectsNames() || len(paths) == 0 || len(rest) > 0 {
		c.sim.read += len(s.Snapshots)
		return
	}
	for _, path := range paths {
		list, _ := s.snapshotsIn([]string{path}, pools)
		c.sim.read += len(list)
	}
}

// onlyFilter returns the field and the operator of a single filter.
func (c *call) onlyFilter() (field, op string) {
	var filters []json.RawMessage
	if len(c.params) == 0 || json.Unmarshal(c.params[0], &filters) != nil || len(filters) != 1 {
		return "", ""
	}
	part, _ := listOf(filters[0])
	if len(part) != 3 || !decodeString(part[0], &field) || !decodeString(part[1], &op) {
		return "", ""
	}
	return field, op
}

// selectsNames reports whether a query selects only names.
func (c *call) selectsNames() bool {
	var o struct {
		Select []any `json:"select"`
	}
	return len(c.params) > 1 && json.Unmarshal(c.params[1], &o) == nil && len(o.Select) == 1 && o.Select[0] == "name"
}

// checkSnapshotFilters models how releases up to 25.10 preprocess the filters: an OR with two branches passes, because the second
// counts as a filter, and no other OR does.
func (c *call) checkSnapshotFilters(v snapshotView) error {
	if len(c.params) == 0 {
		return nil
	}
	left, ok := listOf(c.params[0])
	if !ok {
		return nil // the query refuses it
	}
	named := map[string]bool{}
	for len(left) > 0 {
		last := left[len(left)-1]
		left = left[:len(left)-1]
		part, _ := listOf(last)
		var name string
		switch {
		case len(part) == 2:
			left = append(left, part[1])
		case len(part) != 3:
			return uncaught("ValueError", "Invalid filter.")
		case !decodeString(part[0], &name):
			return uncaught("TypeError", "unhashable type: 'list'")
		}
		named[name] = true
	}
	var o struct {
		Limit int `json:"limit"`
	}
	if len(c.params) > 1 && json.Unmarshal(c.params[1], &o) != nil {
		return nil
	}
	if v.retention && !named["id"] && o.Limit == 0 {
		return fail(eINVAL, "`id` or `limit` is required if `retention` is requested")
	}
	return nil
}

// snapshotsByPath is the query of 26 and later. Conditions on id, name, dataset and pool name the paths to read and are then
// dropped, so several of them form a union. A missing path empties the result.
func (c *call) snapshotsByPath(v snapshotView) (any, error) {
	paths, rest, pools := c.snapshotPaths()
	rows := []map[string]any{}
	list, ok := c.sim.state.snapshotsByTxg(), true
	if len(paths) > 0 {
		list, ok = c.sim.state.snapshotsIn(paths, pools)
	}
	c.sim.read += len(list)
	for _, n := range list {
		if ok && v.within(n) {
			rows = append(rows, c.snapshotRow(n, v))
		}
	}
	if len(c.params) > 0 {
		if _, err := filtersOf(c.params[0]); err != nil {
			return nil, err
		}
		raw, err := json.Marshal(rest)
		if err != nil {
			return nil, err
		}
		c.params[0] = raw
	}
	return query(c, rows)
}

// snapshotPaths splits the filters: the paths that they name, the other filters, and whether datasets below the paths are
// included.
func (c *call) snapshotPaths() (paths []string, rest []json.RawMessage, recursive bool) {
	rest = []json.RawMessage{}
	if len(c.params) == 0 {
		return nil, rest, false
	}
	list, _ := listOf(c.params[0])
	for _, raw := range list {
		found, pool := snapshotPath(raw)
		if found == nil {
			rest = append(rest, raw)
			continue
		}
		paths = append(paths, found...)
		recursive = recursive || pool
	}
	return paths, rest, recursive
}

func snapshotPath(raw json.RawMessage) (paths []string, pool bool) {
	part, _ := listOf(raw)
	var field, op, one string
	if len(part) != 3 || !decodeString(part[0], &field) || !decodeString(part[1], &op) {
		return nil, false
	}
	switch field {
	case "id", "name", "dataset", "pool":
	default:
		return nil, false
	}
	switch {
	case op == "=" && decodeString(part[2], &one):
		return []string{one}, field == "pool"
	case op == "in" && json.Unmarshal(part[2], &paths) == nil:
		return paths, field == "pool"
	}
	return nil, false
}

// snapshotsIn lists the snapshots that the paths name: one by its id, all of a dataset by its name. false means that a path does
// not exist.
func (s *state) snapshotsIn(paths []string, recursive bool) ([]*snapshot, bool) {
	var list []*snapshot
	for _, path := range paths {
		if strings.Contains(path, "@") {
			n := s.Snapshots[path]
			if n == nil {
				return nil, false
			}
			list = append(list, n)
			continue
		}
		d := s.Datasets[path]
		if d == nil {
			return nil, false
		}
		in := []*dataset{d}
		if recursive {
			in = s.below(d)
		}
		for _, d := range in {
			list = append(list, d.snaps...)
		}
	}
	return list, true
}

// snapshot returns the snapshot with an id. Its error is that of get_instance.
func (c *call) snapshot(id string) (*snapshot, error) {
	if n := c.sim.state.Snapshots[id]; n != nil {
		return n, nil
	}
	return nil, missing("%s %s does not exist", snapshotNoun(c.release()), id)
}

func snapshotNoun(r release) string {
	if r == v25_04_2 {
		return "ZFSSnapshot"
	}
	return "PoolSnapshot"
}

func snapshotGet(c *call) (any, error) {
	var id string
	var options json.RawMessage
	if err := c.args([]string{"id", "options"}, &id, &options); err != nil {
		return nil, err
	}
	n, err := c.snapshot(id)
	if err != nil {
		return nil, err
	}
	return c.snapshotRow(n, c.snapshotView(1)), nil
}
