package truenas

import (
	"context"
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"time"
)

// A Snapshot is a ZFS snapshot. Sizes are in bytes.
type Snapshot struct {
	ID              string // dataset@name
	Dataset         string
	Name            string // the part after the @
	Pool            string
	CreatedAt       time.Time
	CreateTXG       int64 // grows with every snapshot of a pool, so it defines their order
	ReferencedBytes int64
	VolsizeBytes    int64 // of a volume, at the time of the snapshot
	UsedBytes       int64
	Clones          []string
	Holds           []string
	UserProperties  map[string]string
}

// SnapshotCreate describes a new snapshot. A recursive one is atomic over all children.
type SnapshotCreate struct {
	Dataset        string            `json:"dataset"`
	Name           string            `json:"name"`
	Recursive      bool              `json:"recursive,omitempty"`
	UserProperties map[string]string `json:"properties,omitempty"`
}

// SnapshotDelete are the options for destroying a snapshot. Defer marks a snapshot with clones or holds for destruction when
// the last of them disappears.
type SnapshotDelete struct {
	Recursive bool `json:"recursive"`
	Defer     bool `json:"defer"`
}

// RollbackOptions select what a rollback may destroy.
type RollbackOptions struct {
	Recursive         bool `json:"recursive"`          // newer snapshots
	RecursiveClones   bool `json:"recursive_clones"`   // and their clones
	Force             bool `json:"force"`              // unmount clones by force
	RecursiveRollback bool `json:"recursive_rollback"` // children too, to the snapshot with that name
}

// Snapshots are the snapshots of the NAS.
type Snapshots struct{ c *Client }

// The methods moved from zfs.snapshot to pool.snapshot in 25.10.
var (
	snapshotQuery    = method[[]Snapshot]{"pool.snapshot.query", read}
	snapshotGet      = method[Snapshot]{"pool.snapshot.get_instance", read}
	snapshotCreate   = method[Snapshot]{"pool.snapshot.create", change}
	snapshotDelete   = method[ignored]{"pool.snapshot.delete", change}
	snapshotClone    = method[ignored]{"pool.snapshot.clone", change}
	snapshotRollback = method[none]{"pool.snapshot.rollback", change}
)

// snapshotCall handles that move for all methods.
func snapshotCall[T any](ctx context.Context, c *Client, m method[T], params ...any) (T, error) {
	release, err := c.ready(ctx)
	if err != nil {
		var zero T
		return zero, err
	}
	if !release.AtLeast(R25_10) {
		m.name = "zfs" + strings.TrimPrefix(m.name, "pool")
	}
	return m.call(ctx, c, params...)
}

// List returns the snapshots that match all filters. Releases up to 25.10 refuse [AnyOf] here, and
// read every snapshot of the NAS unless the only filter is an id. From 26 on, conditions on id and
// dataset combine, and a missing dataset empties the list.
func (s Snapshots) List(ctx context.Context, filters ...Filter) ([]Snapshot, error) {
	options, err := s.options(ctx)
	if err != nil {
		return nil, err
	}
	return snapshotCall(ctx, s.c, snapshotQuery, query(filters, options)...)
}

// Get returns the snapshot dataset@name, or [ErrNotFound].
func (s Snapshots) Get(ctx context.Context, id string) (Snapshot, error) {
	options, err := s.options(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	return snapshotCall(ctx, s.c, snapshotGet, id, options)
}

// options requests the properties of Snapshot. From 26 on a snapshot has only the requested
// properties, and user properties come with what TrueNAS calls the retention.
func (s Snapshots) options(ctx context.Context) (queryOptions, error) {
	release, err := s.c.ready(ctx)
	if err != nil {
		return queryOptions{}, err
	}
	extra := map[string]any{"properties": []string{"creation", "referenced", "used", "volsize", "clones"}}
	if release.AtLeast(R26) {
		extra["retention"] = true
	}
	return queryOptions{Extra: extra}, nil
}

// Create makes a snapshot; [ErrExists] if the name is in use.
func (s Snapshots) Create(ctx context.Context, o SnapshotCreate) (Snapshot, error) {
	return snapshotCall(ctx, s.c, snapshotCreate, o)
}

// Delete destroys a snapshot; [ErrHasClones] if clones depend on it.
func (s Snapshots) Delete(ctx context.Context, id string, o SnapshotDelete) error {
	_, err := snapshotCall(ctx, s.c, snapshotDelete, id, o)
	return err
}

// Clone makes dataset dst from a snapshot. It takes an instant and shares all blocks. props are
// properties of the new dataset; names with a colon are user properties.
func (s Snapshots) Clone(ctx context.Context, snapshot, dst string, props map[string]string) error {
	if props == nil {
		props = map[string]string{}
	}
	_, err := snapshotCall(ctx, s.c, snapshotClone, map[string]any{
		"snapshot": snapshot, "dataset_dst": dst, "dataset_properties": props,
	})
	return err
}

// Rollback returns a dataset to a snapshot. TrueNAS does not check that the VM that uses it is off.
func (s Snapshots) Rollback(ctx context.Context, id string, o RollbackOptions) error {
	_, err := snapshotCall(ctx, s.c, snapshotRollback, id, o)
	return err
}

// UnmarshalJSON flattens TrueNAS's form.
func (s *Snapshot) UnmarshalJSON(data []byte) error {
	var w struct {
		ID         string                     `json:"id"`
		Dataset    string                     `json:"dataset"`
		Name       string                     `json:"snapshot_name"`
		Pool       string                     `json:"pool"`
		Properties map[string]property        `json:"properties"`
		TXG        string                     `json:"createtxg"`
		Holds      map[string]json.RawMessage `json:"holds"`
		User       map[string]string          `json:"user_properties"` // from 26 on
	}
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	*s = Snapshot{
		ID: w.ID, Dataset: w.Dataset, Name: w.Name, Pool: w.Pool,
		ReferencedBytes: w.Properties["referenced"].bytes(), UsedBytes: w.Properties["used"].bytes(),
		VolsizeBytes: w.Properties["volsize"].bytes(),
	}
	s.CreateTXG, _ = strconv.ParseInt(w.TXG, 10, 64)
	s.CreatedAt = w.Properties["creation"].time()
	if clones := w.Properties["clones"].text(); clones != "" {
		s.Clones = strings.Split(clones, ",")
	}
	for tag := range w.Holds {
		s.Holds = append(s.Holds, tag)
	}
	s.UserProperties, _ = splitUser(w.Properties)
	maps.Copy(s.UserProperties, w.User)
	return nil
}
