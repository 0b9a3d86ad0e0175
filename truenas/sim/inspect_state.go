package sim

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// State is the user-visible state, without ids, times and jobs. Two states can be compared with reflect.DeepEqual, because their
// contents are sorted.
type State struct {
	Pools     []Pool
	Datasets  []DatasetState
	Snapshots []SnapshotState
	VMs       []VMState
}

// DatasetState is a file system or a volume.
type DatasetState struct {
	Name           string
	Volume         bool              `json:",omitempty"`
	Size           int64             `json:",omitempty"` // of a volume, in bytes
	BlockSize      int64             `json:",omitempty"` // of a volume, in bytes
	RefReservation int64             `json:",omitempty"` // bytes
	Origin         string            `json:",omitempty"`
	Properties     map[string]string `json:",omitempty"` // set here and not inherited
	User           map[string]string `json:",omitempty"`
	Hash           string            `json:",omitempty"` // of a volume's contents; empty: all zero
	Files          []FileState       `json:",omitempty"`
}

// FileState is a file or a folder.
type FileState struct {
	Path string // below the dataset
	Dir  bool   `json:",omitempty"`
	Mode int64
	Size int64  `json:",omitempty"`
	Hash string `json:",omitempty"`
}

// SnapshotState is a snapshot.
type SnapshotState struct {
	ID    string
	Held  bool              `json:",omitempty"`
	User  map[string]string `json:",omitempty"`
	Hash  string            `json:",omitempty"`
	Files []FileState       `json:",omitempty"`
}

// VMState is a VM. Config and Attributes have the API's names, without generated values such as serials and ports of displays.
type VMState struct {
	Name    string
	State   string
	Config  map[string]any
	Devices []DeviceState
}

// DeviceState is a device, in boot order.
type DeviceState struct {
	Order      int
	Attributes map[string]any
}

// State returns a copy of the current state.
func (s *Sim) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := State{Pools: append([]Pool(nil), s.state.Pools...)}
	for _, name := range userKeys(s.state.Datasets) {
		out.Datasets = append(out.Datasets, s.state.Datasets[name].shown())
	}
	for _, id := range userKeys(s.state.Snapshots) {
		n := s.state.Snapshots[id]
		out.Snapshots = append(out.Snapshots, SnapshotState{id, n.Held, cloned(n.User), n.Data.hash(), shownFiles(n.Files)})
	}
	out.VMs = s.state.shownVMs()
	return out
}

// VMs returns the VMs of State in order of their names. It reads no contents, so a caller can poll it.
func (s *Sim) VMs() []VMState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.shownVMs()
}

func (s *state) shownVMs() []VMState {
	var list []VMState
	for _, m := range s.vmsByName() {
		list = append(list, s.shownVM(m))
	}
	return list
}

// vmsByName returns the VMs by name. Of VMs with the same name, the oldest is first.
func (s *state) vmsByName() []*vm {
	list := slices.Collect(maps.Values(s.VMs))
	slices.SortFunc(list, func(a, b *vm) int {
		return cmp.Or(strings.Compare(a.Config.Name, b.Config.Name), a.ID-b.ID)
	})
	return list
}

func (d *dataset) shown() DatasetState {
	return DatasetState{
		Name: d.Name, Volume: d.Volume, Size: d.Size, BlockSize: d.BlockSize, RefReservation: d.RefReservation, Origin: d.Origin,
		Properties: cloned(d.Properties), User: cloned(d.User), Hash: d.Data.hash(), Files: shownFiles(d.Files),
	}
}

func shownFiles(files map[string]*file) []FileState {
	var list []FileState
	for _, name := range userKeys(files) {
		f := files[name]
		list = append(list, FileState{name, f.Dir, f.Mode, f.Size, f.Data.hash()})
	}
	return list
}

func (s *state) shownVM(m *vm) VMState {
	config, err := asMap(m.Config)
	if err != nil {
		panic("sim: a machine cannot be encoded: " + err.Error())
	}
	out := VMState{Name: m.Config.Name, State: m.State, Config: config}
	for _, d := range s.devicesOf(m.ID) {
		attributes := maps.Clone(d.Attributes)
		for _, key := range []string{"serial", "port", "web_port"} {
			delete(attributes, key)
		}
		out.Devices = append(out.Devices, DeviceState{d.Order, attributes})
	}
	return out
}

// cloned returns nil for an empty map, so that two states compare equal whether or not a map was ever filled.
func cloned(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}

// cutSnapshot splits a snapshot's id.
func cutSnapshot(id string) (dataset, name string, ok bool) {
	dataset, name, ok = strings.Cut(id, "@")
	return dataset, name, ok && dataset != "" && name != "" && !strings.ContainsAny(name, "/@")
}
