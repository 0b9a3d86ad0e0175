package sim

import (
	"encoding/json"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// snapshotMethods go by the name zfs.snapshot up to 25.04 and by
// pool.snapshot after it.
var snapshotMethods = map[string]method{
	"zfs.snapshot.query":         {until: v25_04_2, roles: []string{"SNAPSHOT_READ"}, run: snapshotQuery},
	"zfs.snapshot.get_instance":  {until: v25_04_2, roles: []string{"SNAPSHOT_READ"}, run: snapshotGet},
	"zfs.snapshot.create":        {until: v25_04_2, roles: []string{"SNAPSHOT_WRITE"}, run: snapshotCreate},
	"zfs.snapshot.update":        {until: v25_04_2, roles: []string{"SNAPSHOT_WRITE"}, run: snapshotUpdate},
	"zfs.snapshot.delete":        {until: v25_04_2, roles: []string{"SNAPSHOT_DELETE", "SNAPSHOT_WRITE"}, run: snapshotDelete},
	"zfs.snapshot.clone":         {until: v25_04_2, roles: []string{"SNAPSHOT_WRITE", "DATASET_WRITE"}, run: snapshotClone},
	"zfs.snapshot.rollback":      {until: v25_04_2, roles: []string{"SNAPSHOT_WRITE", "POOL_WRITE"}, run: snapshotRollback},
	"zfs.snapshot.hold":          {until: v25_04_2, roles: []string{"SNAPSHOT_WRITE"}, run: snapshotHold(true)},
	"zfs.snapshot.release":       {until: v25_04_2, roles: []string{"SNAPSHOT_WRITE"}, run: snapshotHold(false)},
	"pool.snapshot.query":        {since: v25_10, roles: []string{"SNAPSHOT_READ"}, run: snapshotQuery},
	"pool.snapshot.get_instance": {since: v25_10, roles: []string{"SNAPSHOT_READ"}, run: snapshotGet},
	"pool.snapshot.create":       {since: v25_10, roles: []string{"SNAPSHOT_WRITE"}, run: snapshotCreate},
	"pool.snapshot.update":       {since: v25_10, roles: []string{"SNAPSHOT_WRITE"}, run: snapshotUpdate},
	"pool.snapshot.delete":       {since: v25_10, roles: []string{"SNAPSHOT_DELETE", "SNAPSHOT_WRITE"}, run: snapshotDelete},
	"pool.snapshot.clone":        {since: v25_10, roles: []string{"SNAPSHOT_WRITE", "DATASET_WRITE"}, run: snapshotClone},
	"pool.snapshot.rollback":     {since: v25_10, roles: []string{"SNAPSHOT_WRITE", "POOL_WRITE"}, run: snapshotRollback},
	"pool.snapshot.hold":         {since: v25_10, roles: []string{"SNAPSHOT_WRITE"}, run: snapshotHold(true)},
	"pool.snapshot.release":      {since: v25_10, roles: []string{"SNAPSHOT_WRITE"}, run: snapshotHold(false)},
}

// snapshotProperty is how a property of a snapshot is shown: unlike that of a
// dataset, without where it was inherited from.
type snapshotProperty struct {
	Value    string `json:"value"`
	RawValue string `json:"rawvalue"`
	Source   string `json:"source"`
	Parsed   any    `json:"parsed"`
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

// snapshotRow is a snapshot as the API shows it. Holds and retention are only
// there when a query asks for them.
func (s *state) snapshotRow(n *snapshot, holds, retention bool) map[string]any {
	row := map[string]any{
		"id": n.id(), "name": n.id(), "pool": poolOf(n.Dataset), "type": "SNAPSHOT",
		"snapshot_name": n.Name, "dataset": n.Dataset, "createtxg": strconv.FormatInt(n.Txg, 10),
		"properties": s.snapshotProperties(n),
	}
	if holds {
		held := map[string]int{}
		if n.Held {
			held["truenas"] = 1
		}
		row["holds"] = held
	}
	if retention {
		row["retention"] = nil
	}
	return row
}

func (s *state) snapshotProperties(n *snapshot) map[string]snapshotProperty {
	plain := func(value, raw string, parsed any) snapshotProperty {
		return snapshotProperty{value, raw, "NONE", parsed}
	}
	referenced := s.snapshotReferenced(n)
	clones := strings.Join(s.clones(n.id()), ",")
	all := map[string]snapshotProperty{
		"creation":   plain(n.Created.UTC().Format("Mon Jan _2 15:04 2006"), strconv.FormatInt(n.Created.Unix(), 10), map[string]any{"$date": n.Created.UnixMilli()}),
		"createtxg":  plain(strconv.FormatInt(n.Txg, 10), strconv.FormatInt(n.Txg, 10), strconv.FormatInt(n.Txg, 10)),
		"referenced": plain(humanSize(referenced), strconv.FormatInt(referenced, 10), referenced),
		"clones":     plain(clones, clones, clones),
	}
	if n.Size > 0 {
		all["volsize"] = plain(humanSize(n.Size), strconv.FormatInt(n.Size, 10), n.Size)
	}
	if d := s.Datasets[n.Dataset]; d != nil {
		for k, p := range s.userProperties(d) {
			all[k] = snapshotProperty{*p.Value, *p.RawValue, "INHERITED", *p.Value}
		}
	}
	for k, v := range n.User {
		all[k] = snapshotProperty{v, v, "LOCAL", v}
	}
	return all
}

func (s *state) snapshotReferenced(n *snapshot) int64 {
	bytes := int64(0)
	eachContents(n.Data, n.Files, func(_ string, c *contents) { bytes += c.stored * blockSize })
	return bytes
}

func snapshotQuery(c *call) (any, error) {
	var o struct {
		Extra struct {
			Holds     bool `json:"holds"`
			Retention bool `json:"retention"`
		} `json:"extra"`
	}
	if len(c.params) > 1 && json.Unmarshal(c.params[1], &o) != nil {
		o.Extra.Holds = false // the query itself refuses what is malformed
	}
	keep := c.prefilter()
	rows := []map[string]any{}
	for _, n := range c.sim.state.snapshotsByTxg() {
		if keep(n.id()) {
			rows = append(rows, c.sim.state.snapshotRow(n, o.Extra.Holds, o.Extra.Retention))
		}
	}
	return query(c, rows)
}

// snapshot finds one by its id, in the way of a get_instance.
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
	return c.sim.state.snapshotRow(n, false, false), nil
}

func snapshotCreate(c *call) (any, error) {
	var p struct {
		Dataset      string         `json:"dataset" sim:"required,minlen=1"`
		Recursive    bool           `json:"recursive"`
		Exclude      []string       `json:"exclude"`
		VMwareSync   bool           `json:"vmware_sync"`
		SuspendVMs   bool           `json:"suspend_vms" sim:"since=26"`
		Properties   map[string]any `json:"properties"`
		Name         string         `json:"name" sim:"minlen=1"`
		NamingSchema string         `json:"naming_schema" sim:"minlen=1"`
	}
	if err := c.args([]string{"data"}, &p); err != nil {
		return nil, err
	}
	name := p.Name
	if p.NamingSchema != "" {
		name = strftime(c.now(), p.NamingSchema)
	}
	var v invalid
	switch {
	case p.Name != "" && p.NamingSchema != "":
		v.add("data.naming_schema", eINVAL, "Extra inputs are not permitted")
	case name == "":
		v.add("data.name", eINVAL, "Field required")
	case strings.ContainsAny(name, "/@") || !validDatasetName(name):
		v.add("snapshot_create.name", eINVAL, "Invalid snapshot name")
	case len(p.Exclude) > 0 && !p.Recursive:
		v.add("snapshot_create.exclude", eINVAL, "This option has no sense for non-recursive snapshots")
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	n, err := c.takeSnapshot(p.Dataset, name, p.Recursive, p.Exclude)
	if err != nil {
		return nil, err
	}
	for k, value := range p.Properties {
		if text, ok := value.(string); ok {
			n.user()[k] = text
		}
	}
	return c.sim.state.snapshotRow(n, false, false), nil
}

func (n *snapshot) user() map[string]string {
	if n.User == nil {
		n.User = map[string]string{}
	}
	return n.User
}

// takeSnapshot is all or nothing: every dataset of a recursive snapshot is
// caught at the same moment, or none is.
func (c *call) takeSnapshot(of, name string, recursive bool, exclude []string) (*snapshot, error) {
	s := &c.sim.state
	d := s.Datasets[of]
	if d == nil {
		return nil, fail(eFAULT, "Failed to snapshot %s@%s: cannot open '%s': dataset does not exist", of, name, of)
	}
	list := []*dataset{d}
	if recursive {
		list = excluding(s.below(d), exclude)
	}
	for _, x := range list {
		if s.Snapshots[x.Name+"@"+name] != nil {
			return nil, snapshotThere(c.release(), of, name, x.Name)
		}
		if u := s.measure(x); x.RefReservation-u.reserved > s.available(x)-u.reserved {
			return nil, fail(eFAULT, "Failed to snapshot %s@%s: cannot create snapshot '%s@%s': out of space", of, name, x.Name, name)
		}
	}
	var first *snapshot
	for _, x := range list {
		n := s.snap(x, name, c.now())
		if x == d {
			first = n
		}
	}
	return first, nil
}

func snapshotThere(r release, dataset, name, at string) error {
	errno := map[release]int{v25_04_2: eFAULT, v25_10: eAGAIN}[r]
	if errno == 0 {
		errno = eEXIST
	}
	return fail(errno, "Failed to snapshot %s@%s: cannot create snapshot '%s@%s': dataset already exists", dataset, name, at, name)
}

func excluding(list []*dataset, names []string) []*dataset {
	var left []*dataset
	for _, d := range list {
		if !slices.Contains(names, d.Name) {
			left = append(left, d)
		}
	}
	return left
}

// strftime fills in a naming schema: the few marks that one needs.
func strftime(t time.Time, schema string) string {
	return strings.NewReplacer(
		"%Y", t.Format("2006"), "%m", t.Format("01"), "%d", t.Format("02"),
		"%H", t.Format("15"), "%M", t.Format("04"), "%S", t.Format("05"), "%s", strconv.FormatInt(t.Unix(), 10),
	).Replace(schema)
}
