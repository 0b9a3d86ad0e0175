package sim

import (
	"fmt"
	"io"
	"maps"
)

// File returns the content of a file under /mnt.
func (s *Sim) File(path string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, _ := s.state.file(path)
	if f == nil || f.Dir {
		return nil, fmt.Errorf("there is no file %s", path)
	}
	p := make([]byte, f.Size)
	f.Data.readAt(p, 0)
	return p, nil
}

// WriteFile puts a file into an existing folder.
func (s *Sim) WriteFile(path string, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, below, err := s.state.folderOf(path)
	if err != nil {
		return err
	}
	f := &file{Mode: 0o644, Size: int64(len(p)), Modified: s.clock.Now()}
	f.Data.writeAt(p, 0)
	d.store(below, f)
	s.state.touch(d)
	return nil
}

func (s *Sim) volume(name string) (*dataset, error) {
	d := s.state.Datasets[name]
	if d == nil || !d.Volume {
		return nil, fmt.Errorf("there is no volume %s", name)
	}
	return d, nil
}

// ReadVolume reads from a volume as a guest would. It returns io.EOF at the end of the volume.
func (s *Sim) ReadVolume(name string, p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.volume(name)
	if err != nil {
		return 0, err
	}
	if off >= d.Size {
		return 0, io.EOF
	}
	n := min(int64(len(p)), d.Size-off)
	d.Data.readAt(p[:n], off)
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// WriteVolume writes to a volume as a guest would.
func (s *Sim) WriteVolume(name string, p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.volume(name)
	if err != nil {
		return 0, err
	}
	if off < 0 || off+int64(len(p)) > d.Size {
		return 0, fmt.Errorf("%d bytes at %d do not fit into volume %s of %d", len(p), off, name, d.Size)
	}
	d.Data.writeAt(p, off)
	s.state.touch(d)
	return len(p), nil
}

// AddDataset makes a file system as a user would. Keys of props with a colon are user properties; the others are ZFS's own.
func (s *Sim) AddDataset(name string, props map[string]string) error {
	return s.addByHand(&dataset{Name: name}, props)
}

// AddVolume makes a sparse volume as a user would, with a size in bytes.
func (s *Sim) AddVolume(name string, size int64, props map[string]string) error {
	return s.addByHand(&dataset{Name: name, Volume: true, Size: size, BlockSize: blockSize}, props)
}

func (s *Sim) addByHand(d *dataset, props map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if parent := s.state.Datasets[parentOf(d.Name)]; parent == nil || parent.Volume || s.state.Datasets[d.Name] != nil || !validDatasetName(d.Name) {
		return fmt.Errorf("dataset %s cannot be made: it exists, or its parent does not", d.Name)
	}
	d.Txg, d.Created = s.state.txg(), s.clock.Now()
	for k, v := range maps.All(props) {
		if err := setAny(d, k, v); err != nil {
			return err
		}
	}
	s.state.add(d)
	return nil
}

// AddFile makes a file of zeros in an existing dataset, with a size in bytes.
func (s *Sim) AddFile(path string, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.storeNew(path, &file{Mode: 0o644, Size: size, Modified: s.clock.Now()})
}

// RemoveDataset destroys a dataset as a user would, with all datasets below it.
func (s *Sim) RemoveDataset(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.state.Datasets[name]
	if d == nil {
		return fmt.Errorf("there is no dataset %s", name)
	}
	return s.state.destroy(d)
}

// AddSnapshot makes a snapshot "dataset@name" as a user would.
func (s *Sim) AddSnapshot(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	dataset, name, ok := cutSnapshot(id)
	d := s.state.Datasets[dataset]
	if !ok || d == nil || s.state.Snapshots[id] != nil {
		return fmt.Errorf("snapshot %s cannot be made", id)
	}
	s.state.snap(d, name, s.clock.Now())
	return nil
}

// SetHeld adds a hold to a snapshot, as a replication task does, or removes it.
func (s *Sim) SetHeld(id string, held bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.state.Snapshots[id]
	if n == nil {
		return fmt.Errorf("hold %s: the snapshot does not exist", id)
	}
	n.Held = held
	if !held {
		s.state.release(n)
	}
	return nil
}

// AddClone makes a clone of a snapshot, as another client can at any time.
func (s *Sim) AddClone(id, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.state.Snapshots[id]
	if n == nil {
		return fmt.Errorf("clone %s: the snapshot does not exist", id)
	}
	if reason := s.state.invalidCloneName(n, name); reason != "" {
		return fmt.Errorf("clone %s to %s: %s", id, name, reason)
	}
	s.state.clone(n, name, s.clock.Now())
	return nil
}

// AddVM creates a VM as a user does in the web interface, with its defaults and the volumes as its disks. memory is in MiB.
func (s *Sim) AddVM(name string, vcpus int, memory int64, volumes ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.vmNamed(name) != nil || !vmName.MatchString(name) {
		return fmt.Errorf("machine %q cannot be created: it exists, or the name is invalid", name)
	}
	for _, volume := range volumes {
		if _, err := s.volume(volume); err != nil {
			return err
		}
	}
	config := newVMConfig(s.release)
	id, ovmf := s.state.uuid(), "OVMF_CODE.fd"
	config.Name, config.VCPUs, config.Memory, config.UUID, config.OVMF = name, vcpus, memory, &id, &ovmf
	m, err := s.addVM(config)
	if err != nil {
		return err
	}
	s.emitRecord("vm.query", "added", m.ID, s.state.machineRow(m, nil, s.release))
	for _, volume := range volumes {
		all, err := asMap(blankAttributes("DISK"))
		if err != nil {
			return err
		}
		all["dtype"], all["path"], all["serial"] = "DISK", volumePath(volume), s.state.serial()
		s.state.LastDevice++
		d := &device{ID: s.state.LastDevice, VM: m.ID, DType: "DISK", Path: volumePath(volume), Order: defaultOrder("DISK"), Attributes: all}
		s.state.addDevice(d)
		s.emitRecord("vm.device.query", "added", d.ID, d.row(s.release))
	}
	return nil
}

// StartVM starts a VM as a user would.
func (s *Sim) StartVM(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.state.vmNamed(name)
	if m == nil {
		return fmt.Errorf("there is no machine %q", name)
	}
	return s.start(m, false)
}
