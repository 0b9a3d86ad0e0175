package truenas

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// Types of datasets.
const (
	Filesystem = "FILESYSTEM"
	Volume     = "VOLUME"
)

// A Dataset is a ZFS file system or volume. Sizes are in bytes.
type Dataset struct {
	ID, Name, Pool      string
	Type                string // Filesystem or Volume
	Mountpoint          string // empty for a volume
	VolsizeBytes        int64
	VolBlockSizeBytes   int64
	UsedBytes           int64 // including snapshots and children
	UsedByDatasetBytes  int64 // own data; for a clone, without the blocks that it shares
	AvailableBytes      int64
	RefReservationBytes int64
	Origin              string    // the snapshot of which this is a clone
	CreatedAt           time.Time // to the second
	Encrypted, Locked   bool
	Compression         string            // as ZFS writes it: "lz4"
	Sync                string            // "standard"
	Deduplication       string            // "off"
	UserProperties      map[string]string // inherited ones too
	LocalUserProperties map[string]string // set on this dataset; from 25.10 on TrueNAS does not distinguish, and this has all properties
}

// DeduplicationOff is the value of Deduplication that overrides an inherited one. Deduplication needs memory for each block.
const DeduplicationOff = "OFF"

// DatasetCreate describes a new dataset. VolsizeBytes must be a multiple of the block size (16 KiB
// by default).
type DatasetCreate struct {
	Name            string
	Type            string // Filesystem (the default) or Volume
	Comments        string
	VolsizeBytes    int64
	VolBlockSize    string // "16K"
	Sparse          bool
	Compression     string // "ZSTD"; empty inherits
	Sync            string // "ALWAYS"; likewise
	Deduplication   string // "ON"; likewise
	ForceSize       bool   // allow more than 80 % of the available space, sparse or not
	CreateAncestors bool
	UserProperties  map[string]string // keys contain a colon
}

// MarshalJSON encodes TrueNAS's form.
func (d DatasetCreate) MarshalJSON() ([]byte, error) {
	kind := d.Type
	if kind == "" {
		kind = Filesystem
	}
	return json.Marshal(struct {
		Name            string         `json:"name"`
		Type            string         `json:"type"`
		Comments        string         `json:"comments,omitempty"`
		Volsize         int64          `json:"volsize,omitempty"`
		VolBlockSize    string         `json:"volblocksize,omitempty"`
		Sparse          bool           `json:"sparse,omitempty"`
		Compression     string         `json:"compression,omitempty"`
		Sync            string         `json:"sync,omitempty"`
		Deduplication   string         `json:"deduplication,omitempty"`
		ForceSize       bool           `json:"force_size,omitempty"`
		CreateAncestors bool           `json:"create_ancestors,omitempty"`
		UserProperties  []userProperty `json:"user_properties,omitempty"`
	}{d.Name, kind, d.Comments, d.VolsizeBytes, d.VolBlockSize, d.Sparse, d.Compression, d.Sync, d.Deduplication, d.ForceSize, d.CreateAncestors, userProperties(d.UserProperties, nil)})
}

// DatasetUpdate changes the fields that are set. A volume can only grow.
type DatasetUpdate struct {
	Comments             *string
	VolsizeBytes         *int64
	ForceSize            bool
	RefReservationBytes  *int64
	Compression          *string // "ZSTD"
	Sync                 *string // "ALWAYS"
	Deduplication        *string // "ON"
	SetUserProperties    map[string]string
	RemoveUserProperties []string
}

// MarshalJSON encodes TrueNAS's form.
func (d DatasetUpdate) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Comments       *string        `json:"comments,omitempty"`
		Volsize        *int64         `json:"volsize,omitempty"`
		ForceSize      bool           `json:"force_size,omitempty"`
		RefReservation *int64         `json:"refreservation,omitempty"`
		Compression    *string        `json:"compression,omitempty"`
		Sync           *string        `json:"sync,omitempty"`
		Deduplication  *string        `json:"deduplication,omitempty"`
		Properties     []userProperty `json:"user_properties_update,omitempty"`
	}{d.Comments, d.VolsizeBytes, d.ForceSize, d.RefReservationBytes, d.Compression, d.Sync, d.Deduplication, userProperties(d.SetUserProperties, d.RemoveUserProperties)})
}

type userProperty struct {
	Key    string  `json:"key"`
	Value  *string `json:"value,omitempty"`
	Remove bool    `json:"remove,omitempty"`
}

// userProperties are sorted by key, so that equal calls are equal on the wire.
func userProperties(set map[string]string, remove []string) []userProperty {
	var out []userProperty
	for _, key := range slices.Sorted(maps.Keys(set)) {
		value := set[key]
		out = append(out, userProperty{Key: key, Value: &value})
	}
	for _, key := range remove {
		out = append(out, userProperty{Key: key, Remove: true})
	}
	return out
}

// DatasetDelete are the options for destroying a dataset. Without Recursive, a dataset with children or snapshots is
// [ErrNotEmpty].
type DatasetDelete struct {
	Recursive bool `json:"recursive"`
	Force     bool `json:"force"`
}

// Datasets are the file systems and volumes of the NAS.
type Datasets struct{ c *Client }

var (
	datasetQuery     = method[[]wireDataset]{"pool.dataset.query", read}
	datasetGet       = method[Dataset]{"pool.dataset.get_instance", read}
	datasetCreate    = method[Dataset]{"pool.dataset.create", change}
	datasetUpdate    = method[Dataset]{"pool.dataset.update", change}
	datasetDelete    = method[ignored]{"pool.dataset.delete", change}
	datasetPromote   = method[none]{"pool.dataset.promote", change}
	datasetProcesses = method[[]Process]{"pool.dataset.processes", read}
)

// List returns the datasets that match all filters, as a flat list.
func (s Datasets) List(ctx context.Context, filters ...Filter) ([]Dataset, error) {
	release, err := s.c.ready(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := datasetQuery.call(ctx, s.c, query(filters, datasetListOptions(release, filters))...)
	if err != nil {
		return nil, err
	}
	list := make([]Dataset, len(rows))
	for i := range rows {
		list[i] = rows[i].flat()
	}
	return list, nil
}

// Get returns the dataset with that name, or [ErrNotFound].
func (s Datasets) Get(ctx context.Context, id string) (Dataset, error) {
	return datasetGet.call(ctx, s.c, id, datasetOptions(map[string]any{"retrieve_children": false}))
}

// Create makes a dataset; [ErrExists] if the name is in use.
func (s Datasets) Create(ctx context.Context, d DatasetCreate) (Dataset, error) {
	made, err := datasetCreate.call(ctx, s.c, d)
	if err != nil {
		return made, err
	}
	lacking := maps.Clone(d.UserProperties)
	maps.DeleteFunc(lacking, func(key, value string) bool { return made.UserProperties[key] == value })
	if len(lacking) == 0 {
		return made, nil
	}
	// 26.0.0-BETA.1 to BETA.3 drop the user properties of a create.
	return s.Update(ctx, d.Name, DatasetUpdate{SetUserProperties: lacking})
}

// Update changes a dataset.
func (s Datasets) Update(ctx context.Context, id string, d DatasetUpdate) (Dataset, error) {
	return datasetUpdate.call(ctx, s.c, id, d)
}

// Delete destroys a dataset. TrueNAS stops running VMs that use a file in it, such as a CDROM's.
func (s Datasets) Delete(ctx context.Context, id string, o DatasetDelete) error {
	_, err := datasetDelete.call(ctx, s.c, id, o)
	return err
}

// Promote makes a clone independent of its origin, which then depends on the clone.
func (s Datasets) Promote(ctx context.Context, id string) error {
	_, err := datasetPromote.call(ctx, s.c, id)
	return err
}

// A Process is a process on the NAS.
type Process struct {
	PID     int    `json:"pid"`
	Name    string `json:"name"` // at most 15 characters: "qemu-system-x86"
	Service string `json:"service"`
	Cmdline string `json:"cmdline"` // empty if TrueNAS knows the service that it belongs to
}

// QEMU reports whether the process runs a VM or converts a disk.
func (p Process) QEMU() bool {
	return strings.HasPrefix(p.Name, "qemu") || strings.Contains(p.Cmdline, "qemu-system-")
}

// Processes lists the processes that have a volume open; for a file system, its files or a volume below it. TrueNAS queries
// the kernel, so that the list includes running VMs even while libvirt is down. The list is empty for a locked dataset.
func (s Datasets) Processes(ctx context.Context, id string) ([]Process, error) {
	return datasetProcesses.call(ctx, s.c, id)
}
