package sim

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// snapshotMethods lists the methods without their prefix: zfs.snapshot up to 25.04, then pool.snapshot.
var snapshotMethods = map[string]method{
	"zfs.snapshot.query":         {until: v25_04_2, roles: []string{"SNAPSHOT_READ"}, run: snapshotQuery},
	"zfs.snapshot.get_instance":  {until: v25_04_2, roles: []string{"SNAPSHOT_READ"}, run: snapshotGet},
	"zfs.snapshot.create":        {until: v25_04_2, roles: []string{"SNAPSHOT_WRITE"}, run: snapshotCreate},
	"zfs.snapshot.update":        {until: v25_04_2, roles: []string{"SNAPSHOT_WRITE"}, run: snapshotUpdate},
	"zfs.snapshot.delete":        {until: v25_04_2, roles: []string{"SNAPSHOT_DELETE", "SNAPSHOT_WRITE"}, run: snapshotDelete},
	"zfs.snapshot.clone":         {until: v25_04_2, roles: []string{fullAdmin}, run: snapshotClone},
	"zfs.snapshot.rollback":      {until: v25_04_2, roles: []string{fullAdmin}, run: snapshotRollback},
	"zfs.snapshot.hold":          {until: v25_04_2, roles: []string{fullAdmin}, run: snapshotHold},
	"zfs.snapshot.release":       {until: v25_04_2, roles: []string{fullAdmin}, run: snapshotRelease},
	"pool.snapshot.query":        {since: v25_10, roles: []string{"SNAPSHOT_READ"}, run: snapshotQuery},
	"pool.snapshot.get_instance": {since: v25_10, roles: []string{"SNAPSHOT_READ"}, run: snapshotGet},
	"pool.snapshot.create":       {since: v25_10, roles: []string{"SNAPSHOT_WRITE"}, run: snapshotCreate},
	"pool.snapshot.update":       {since: v25_10, roles: []string{"SNAPSHOT_WRITE"}, run: snapshotUpdate},
	"pool.snapshot.delete":       {since: v25_10, roles: []string{"SNAPSHOT_DELETE", "SNAPSHOT_WRITE"}, run: snapshotDelete},
	"pool.snapshot.rename":       {since: v25_10, roles: []string{"SNAPSHOT_WRITE"}, run: snapshotRename},
	"pool.snapshot.clone":        {since: v25_10, roles: []string{"SNAPSHOT_WRITE", "DATASET_WRITE"}, run: snapshotClone},
	"pool.snapshot.rollback":     {since: v25_10, roles: []string{"SNAPSHOT_WRITE", "POOL_WRITE"}, run: snapshotRollback},
	"pool.snapshot.hold":         {since: v25_10, roles: []string{"SNAPSHOT_WRITE"}, run: snapshotHold},
	"pool.snapshot.release":      {since: v25_10, roles: []string{"SNAPSHOT_WRITE"}, run: snapshotRelease},
}

// snapshotParams has the parameters of a new snapshot: the members of both models.
type snapshotParams struct {
	Dataset      string         `json:"dataset" sim:"required,minlen=1"`
	Recursive    bool           `json:"recursive"`
	Exclude      []string       `json:"exclude"`
	VMwareSync   bool           `json:"vmware_sync"`
	SuspendVMs   bool           `json:"suspend_vms" sim:"since=26"`
	Properties   map[string]any `json:"properties"`
	Name         string         `json:"name" sim:"only=PoolSnapshotCreateWithName,required,minlen=1"`
	NamingSchema string         `json:"naming_schema" sim:"only=PoolSnapshotCreateWithSchema,required,minlen=1"`
}

// snapshotToTake reads the argument of a create, a union of two models.
func (c *call) snapshotToTake() (*snapshotParams, error) {
	var raw json.RawMessage
	if err := c.args([]string{"data"}, &raw); err != nil {
		return nil, err
	}
	var all invalid
	for _, model := range []string{"PoolSnapshotCreateWithName", "PoolSnapshotCreateWithSchema"} {
		var p snapshotParams
		bad := c.decodeBranch(model, "data."+model, raw, &p)
		if len(bad) == 0 {
			return &p, nil
		}
		all = append(all, bad...)
	}
	return nil, all
}

func snapshotCreate(c *call) (any, error) {
	p, err := c.snapshotToTake()
	if err != nil {
		return nil, err
	}
	name := p.Name
	if p.NamingSchema != "" {
		name = strftime(c.now(), p.NamingSchema)
	}
	var v invalid
	switch {
	case len(p.Exclude) > 0 && !p.Recursive:
		v.add("snapshot_create.exclude", eINVAL, "This option has no sense for non-recursive snapshots")
	case strings.ContainsAny(name, "/@") || !validDatasetName(name):
		v.add("snapshot_create.name", eINVAL, "Invalid snapshot name")
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	list, err := c.takeSnapshot(p.Dataset, name, p.Recursive, p.Exclude)
	if err != nil {
		return nil, err
	}
	for k, value := range p.Properties {
		if text, ok := value.(string); ok {
			for _, n := range list {
				n.user()[k] = text
			}
		}
	}
	row := c.snapshotRow(list[0], c.createdFields())
	c.sim.emit(snapshotEvents, "added", list[0].id(), row)
	return row, nil
}

// createdFields selects the fields of a new snapshot in the result of a create.
func (c *call) createdFields() snapshotView {
	if c.release() >= v26 {
		return snapshotView{properties: map[string]bool{"creation": true, "createtxg": true}}
	}
	return snapshotView{}
}

func (n *snapshot) user() map[string]string {
	if n.User == nil {
		n.User = map[string]string{}
	}
	return n.User
}

// takeSnapshot is atomic: it snapshots every dataset of a recursive snapshot at the same moment, or none. The dataset's own
// snapshot comes first.
func (c *call) takeSnapshot(of, name string, recursive bool, exclude []string) ([]*snapshot, error) {
	s := &c.sim.state
	d := s.Datasets[of]
	if d == nil {
		return nil, c.snapshotOfNothing(of, name)
	}
	list := []*dataset{d}
	if recursive {
		list = excluding(s.below(d), exclude)
	}
	for _, x := range list {
		if s.Snapshots[x.Name+"@"+name] != nil {
			return nil, c.snapshotThere(of, name, x.Name)
		}
		if u := s.measure(x); x.RefReservation-u.reserved > s.available(x)-u.reserved {
			return nil, fail(eFAULT, "Failed to snapshot %s@%s: cannot create snapshot '%s@%s': out of space", of, name, x.Name, name)
		}
	}
	taken := make([]*snapshot, len(list))
	for i, x := range list {
		taken[i] = s.snap(x, name, c.now())
		taken[i].Txg = taken[0].Txg // They belong to one transaction group.
	}
	return taken, nil
}

func (c *call) snapshotOfNothing(dataset, name string) error {
	if c.release() >= v26 {
		return uncaught("ZFSPathNotFoundException", "'%s' not found", dataset)
	}
	return fail(eFAULT, "Failed to snapshot %s@%s: Dataset %s not found", dataset, name, dataset)
}

func (c *call) snapshotThere(dataset, name, at string) error {
	if c.release() >= v26 {
		return refuse("pool.snapshot.create", eEXIST, "%s already exists.", name)
	}
	return fail(eEXIST, "Failed to snapshot %s@%s: cannot create snapshot '%s@%s': dataset already exists", dataset, name, at, name)
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

// strftime expands the common directives of a naming schema.
func strftime(t time.Time, schema string) string {
	return strings.NewReplacer(
		"%Y", t.Format("2006"), "%m", t.Format("01"), "%d", t.Format("02"),
		"%H", t.Format("15"), "%M", t.Format("04"), "%S", t.Format("05"), "%s", strconv.FormatInt(t.Unix(), 10),
	).Replace(schema)
}
