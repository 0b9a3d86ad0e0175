package sim

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"
)

// state survives a restart of the NAS. The simulator's lock guards it. Save writes its exported fields.
type state struct {
	Pools     []Pool
	Datasets  map[string]*dataset
	Snapshots map[string]*snapshot
	VMs       map[int]*vm
	Devices   map[int]*device
	Guests    map[string]Guest `json:",omitempty"` // by VM name; "": all others
	Watched   map[string]int   `json:",omitempty"` // up to 25.10: the VM whose domain the middleware watches, by VM name

	LastVM     int
	LastDevice int
	LastPID    int
	LastTxg    int64

	random *rand.Rand
	byUUID map[string][]int // ids of the VMs with a UUID, the oldest first

	byVM map[int][]*device // see devicesByVM; nil: not computed
}

// newState returns a NAS with its pools and no other objects.
func newState(cfg Config, now time.Time) state {
	s := state{
		Pools: cfg.Pools, Datasets: map[string]*dataset{}, Snapshots: map[string]*snapshot{},
		VMs: map[int]*vm{}, Devices: map[int]*device{}, Watched: map[string]int{}, byUUID: map[string][]int{}, LastPID: 4000, LastTxg: 1000,
		random: rand.New(rand.NewPCG(uint64(cfg.Seed), 1)),
	}
	for _, p := range cfg.Pools {
		root := &dataset{Name: p.Name, Txg: s.txg(), Created: now}
		for zfs, value := range map[string]string{"acltype": "posix", "atime": "off", "compression": "lz4", "xattr": "on"} {
			setNative(root, zfs, value) // as in a pool that TrueNAS made
		}
		s.add(root)
	}
	return s
}

// txg returns the next transaction group. It orders all objects of ZFS.
func (s *state) txg() int64 {
	s.LastTxg++
	return s.LastTxg
}

// saved is the file format of Save: the state, and its layers, which contents reference by number from 1.
type saved struct {
	Release string
	State   *state
	Layers  []savedLayer
}

type savedLayer struct {
	Base   int `json:",omitempty"`
	Stored int64
	Blocks map[int64]string // base64; "" is a hole
}

// Save writes the state of the NAS as JSON, without jobs, sessions and events.
func (s *Sim) Save(w io.Writer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := saved{Release: s.release.String(), State: &s.state}
	numbers := map[*layer]int{}
	s.state.eachContents(func(c *contents) {
		c.frozen()
		c.Layer = out.number(c.base, numbers)
	})
	if err := json.NewEncoder(w).Encode(out); err != nil {
		return fmt.Errorf("save the state of the simulator: %w", err)
	}
	return nil
}

// number adds a layer to the file, after the layers below it.
func (f *saved) number(l *layer, numbers map[*layer]int) int {
	if l == nil {
		return 0
	}
	if n := numbers[l]; n > 0 {
		return n
	}
	out := savedLayer{Base: f.number(l.base, numbers), Stored: l.stored, Blocks: map[int64]string{}}
	for i, b := range l.blocks {
		out.Blocks[i] = ""
		if b != nil {
			out.Blocks[i] = base64.StdEncoding.EncodeToString(b.data)
		}
	}
	f.Layers = append(f.Layers, out)
	numbers[l] = len(f.Layers)
	return len(f.Layers)
}

// Load replaces the state of the NAS with a state written by Save.
func (s *Sim) Load(r io.Reader) error {
	var in saved
	if err := json.NewDecoder(r).Decode(&in); err != nil {
		return fmt.Errorf("load the state of the simulator: %w", err)
	}
	if in.State == nil {
		return fmt.Errorf("load the state of the simulator: there is none in the file")
	}
	layers, err := in.layers()
	if err != nil {
		return fmt.Errorf("load the state of the simulator: %w", err)
	}
	in.State.eachContents(func(c *contents) {
		if c.Layer > 0 && c.Layer < len(layers) {
			c.base = layers[c.Layer]
			c.stored = c.base.stored
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	in.State.random = s.state.random
	in.State.link()
	s.switchOff()
	s.state = *in.State
	s.switchOff()
	s.rewatch()
	return nil
}

func (f *saved) layers() ([]*layer, error) {
	layers := make([]*layer, len(f.Layers)+1)
	for n, in := range f.Layers {
		if in.Base > n {
			return nil, fmt.Errorf("layer %d has the base %d, which comes later", n+1, in.Base)
		}
		l := &layer{base: layers[in.Base], stored: in.Stored, blocks: map[int64]*block{}}
		for i, text := range in.Blocks {
			data, err := base64.StdEncoding.DecodeString(text)
			if err != nil || (len(data) != 0 && len(data) != blockSize) {
				return nil, fmt.Errorf("layer %d: block %d is not %d bytes in base64", n+1, i, blockSize)
			}
			l.blocks[i] = nil
			if len(data) > 0 {
				l.blocks[i] = &block{data: data}
			}
		}
		layers[n+1] = l
	}
	return layers, nil
}

// link rebuilds the parts of the state that are not saved.
func (s *state) link() {
	orEmpty(&s.Datasets)
	orEmpty(&s.Snapshots)
	orEmpty(&s.VMs)
	orEmpty(&s.Devices)
	orEmpty(&s.Watched)
	s.byUUID = map[string][]int{}
	for _, id := range vmIDs(s.VMs) {
		s.enlist(s.VMs[id])
	}
	for _, d := range s.Datasets {
		if parent := s.Datasets[parentOf(d.Name)]; parent != nil {
			if parent.children == nil {
				parent.children = map[string]*dataset{}
			}
			parent.children[d.Name] = d
		}
	}
	for _, n := range s.snapshotsByTxg() {
		if d := s.Datasets[n.Dataset]; d != nil {
			d.snaps = append(d.snaps, n)
		}
	}
}

// enlist adds a VM to the index of UUIDs.
func (s *state) enlist(m *vm) {
	id := *m.Config.UUID
	s.byUUID[id] = append(s.byUUID[id], m.ID)
	slices.Sort(s.byUUID[id])
}

// delist removes a VM from the index of UUIDs.
func (s *state) delist(m *vm) {
	id := *m.Config.UUID
	s.byUUID[id] = slices.DeleteFunc(s.byUUID[id], func(n int) bool { return n == m.ID })
	if len(s.byUUID[id]) == 0 {
		delete(s.byUUID, id)
	}
}

func orEmpty[K comparable, V any](m *map[K]V) {
	if *m == nil {
		*m = map[K]V{}
	}
}

// eachContents visits the contents of every volume, file and snapshot.
func (s *state) eachContents(visit func(*contents)) {
	files := func(files map[string]*file) {
		for _, f := range files {
			visit(&f.Data)
		}
	}
	for _, d := range s.Datasets {
		visit(&d.Data)
		files(d.Files)
	}
	for _, n := range s.Snapshots {
		visit(&n.Data)
		files(n.Files)
	}
}
