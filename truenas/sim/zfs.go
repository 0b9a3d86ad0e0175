package sim

import (
	"path"
	"sort"
	"strings"
	"time"
)

// dataset is a file system or a volume. The maps hold its own properties, without inherited ones.
type dataset struct {
	Name           string
	Volume         bool
	Size           int64             `json:",omitempty"` // of a volume, in bytes
	BlockSize      int64             `json:",omitempty"` // volblocksize, in bytes
	RefReservation int64             `json:",omitempty"` // bytes
	Reservation    int64             `json:",omitempty"` // bytes
	Quota          int64             `json:",omitempty"` // bytes
	RefQuota       int64             `json:",omitempty"` // bytes
	Properties     map[string]string `json:",omitempty"` // by ZFS's names: "compression"
	User           map[string]string `json:",omitempty"` // user properties
	Origin         string            `json:",omitempty"` // the snapshot of which it is a clone
	EncryptionRoot string            `json:",omitempty"` // the dataset that has its key; empty: not encrypted
	Crypt          *crypt            `json:",omitempty"` // of an encryption root
	Txg            int64
	Created        time.Time
	Data           contents         // of a volume
	Files          map[string]*file `json:",omitempty"` // of a file system, by path below its root

	children map[string]*dataset
	snaps    []*snapshot // oldest first
	usage    usage

	arriving int // number of replications that write to it
}

// snapshot is the state of a dataset at one time.
type snapshot struct {
	Dataset string
	Name    string
	Txg     int64
	Created time.Time
	Held    bool              `json:",omitempty"`
	Going   bool              `json:",omitempty"` // destroyed after its last clone and hold
	User    map[string]string `json:",omitempty"`
	Size    int64             `json:",omitempty"`
	Data    contents
	Files   map[string]*file `json:",omitempty"`

	sent int // number of replications that send it
}

// busy reports whether a hold or a replication protects the snapshot.
func (n *snapshot) busy() bool { return n.Held || n.sent > 0 }

func (n *snapshot) id() string { return n.Dataset + "@" + n.Name }

// file is a file or a directory in a file system.
type file struct {
	Dir      bool `json:",omitempty"`
	Mode     int64
	UID, GID int64
	Size     int64
	Modified time.Time
	Data     contents
}

// usage is the space of a dataset in bytes, by use.
type usage struct {
	known      bool
	live       int64 // space that destroying the dataset would free
	snapshots  int64 // space that only its snapshots use
	reserved   int64 // unused reservation of a thick volume
	children   int64
	referenced int64 // size of the contents, shared or not
}

func (u usage) used() int64 { return u.live + u.snapshots + u.reserved + u.children }

// The size of an empty dataset in bytes, as ZFS shows it.
const (
	emptyFilesystem = 96 << 10
	emptyVolume     = 56 << 10
)

func (d *dataset) empty() int64 {
	if d.Volume {
		return emptyVolume
	}
	return emptyFilesystem
}

func (d *dataset) pool() string { return poolOf(d.Name) }

func poolOf(name string) string {
	pool, _, _ := strings.Cut(name, "/")
	return pool
}

func parentOf(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return ""
}

func (d *dataset) mountpoint() string { return path.Join("/mnt", d.Name) }

// add links a dataset to its parent, which exists.
func (s *state) add(d *dataset) {
	s.Datasets[d.Name] = d
	if parent := s.Datasets[parentOf(d.Name)]; parent != nil {
		if parent.children == nil {
			parent.children = map[string]*dataset{}
		}
		parent.children[d.Name] = d
	}
	s.touch(d)
}

// remove removes a dataset without children, with its snapshots.
func (s *state) remove(d *dataset) {
	s.touch(d)
	if parent := s.Datasets[parentOf(d.Name)]; parent != nil {
		delete(parent.children, d.Name)
	}
	for _, n := range d.snaps {
		delete(s.Snapshots, n.id())
	}
	delete(s.Datasets, d.Name)
	s.release(s.Snapshots[d.Origin])
}

// release destroys a deferred snapshot after its last clone and hold are gone.
func (s *state) release(n *snapshot) {
	if n != nil && n.Going && !n.Held && len(s.clones(n.id())) == 0 {
		s.drop(n)
	}
}

// below lists a dataset and all datasets under it, parents first.
func (s *state) below(d *dataset) []*dataset {
	all := []*dataset{d}
	for _, child := range d.sorted() {
		all = append(all, s.below(child)...)
	}
	return all
}

func (d *dataset) sorted() []*dataset {
	list := make([]*dataset, 0, len(d.children))
	for _, child := range d.children {
		list = append(list, child)
	}
	sort.Slice(list, func(a, b int) bool { return list[a].Name < list[b].Name })
	return list
}

// clones lists the clones of a snapshot by name.
func (s *state) clones(id string) []string {
	var names []string
	for name, d := range s.Datasets {
		if d.Origin == id {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// snap makes a snapshot of one dataset, in constant time.
func (s *state) snap(d *dataset, name string, now time.Time) *snapshot {
	n := &snapshot{Dataset: d.Name, Name: name, Txg: s.txg(), Created: now, Size: d.Size, Data: d.Data.frozen(), Files: frozenFiles(d.Files)}
	s.Snapshots[n.id()] = n
	d.snaps = append(d.snaps, n)
	s.touch(d)
	return n
}

// drop destroys a snapshot without clones.
func (s *state) drop(n *snapshot) {
	d := s.Datasets[n.Dataset]
	for i := range d.snaps {
		if d.snaps[i] == n {
			d.snaps = append(d.snaps[:i:i], d.snaps[i+1:]...)
			break
		}
	}
	delete(s.Snapshots, n.id())
	s.touch(d)
}

// clone makes a dataset from a snapshot, in constant time. Clones are sparse, whatever their origin is.
func (s *state) clone(n *snapshot, name string, now time.Time) *dataset {
	from := s.Datasets[n.Dataset]
	d := &dataset{
		Name: name, Volume: from.Volume, Size: n.Size, BlockSize: from.BlockSize, Origin: n.id(),
		Txg: s.txg(), Created: now, Data: n.Data, Files: frozenFiles(n.Files), EncryptionRoot: from.EncryptionRoot,
	}
	s.add(d)
	return d
}

func frozenFiles(files map[string]*file) map[string]*file {
	if files == nil {
		return nil
	}
	frozen := make(map[string]*file, len(files))
	for name, f := range files {
		g := *f
		g.Data = f.Data.frozen()
		frozen[name] = &g
	}
	return frozen
}
