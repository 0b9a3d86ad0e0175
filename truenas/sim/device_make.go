package sim

import (
	"fmt"
	"path"
	"slices"
	"strconv"
)

// makeReal makes the objects that a new device needs: a volume or raw file, a serial, and the ports of a display.
func (c *call) makeReal(d *device) error {
	s := &c.sim.state
	switch d.DType {
	case "DISK":
		if d.Attributes["create_zvol"] == true {
			size := int64(d.Attributes["zvol_volsize"].(float64))
			p := blankDataset()
			p.Name, p.isVolume, p.Volsize = d.text("zvol_name"), true, &size
			if err := c.checkCreate(&p); err != nil {
				return err
			}
			made, err := s.create(&p, c.release(), c)
			if err != nil {
				return err
			}
			c.sim.emit(datasetEvents, "added", made.Name, c.shownWhole(made))
		}
		d.Attributes["path"] = d.Path
		d.Attributes["create_zvol"], d.Attributes["zvol_name"], d.Attributes["zvol_volsize"] = false, nil, nil
	case "RAW":
		if err := c.makeFile(d); err != nil {
			return err
		}
		d.Attributes["exists"] = false // exists is not stored; this is its default.
	case "DISPLAY":
		taken := s.displayPorts(d)
		for _, key := range []string{"port", "web_port"} {
			if d.Attributes[key] == nil {
				d.Attributes[key] = float64(freePort(taken))
			}
		}
	}
	return nil
}

// makeFile makes the file of a RAW device.
func (c *call) makeFile(d *device) error {
	s := &c.sim.state
	if f, _ := s.file(d.Path); f != nil {
		return nil
	}
	in, below := s.locate(d.Path)
	if folder := path.Dir(below); folder != "." && (in.Files[folder] == nil || !in.Files[folder].Dir) {
		problem := fmt.Sprintf("truncate: cannot open '%s' for writing: No such file or directory\n", d.Path)
		if c.release() <= v25_10 {
			problem = "b" + strconv.Quote(problem)
		}
		return fail(eFAULT, "Failed to create or update raw file %s: %s", d.Path, problem)
	}
	size, _ := d.Attributes["size"].(float64)
	in.store(below, &file{Mode: 0o644, Size: int64(size), Modified: c.now()})
	s.touch(in)
	return nil
}

// serial returns a new serial, by which a guest identifies the disk.
func (s *state) serial() string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	text := make([]byte, 8)
	for i := range text {
		text[i] = letters[s.random.IntN(len(letters))]
	}
	return string(text)
}

// mac returns a random address in the range of TrueNAS's guests.
func (s *state) mac() string {
	return fmt.Sprintf("00:a0:98:%02x:%02x:%02x", s.random.UintN(0x80), s.random.UintN(256), s.random.UintN(256))
}

// destroyVolume destroys a volume and its snapshots, for the "zvol" options of deletions.
func (c *call) destroyVolume(name string) error {
	s := &c.sim.state
	d := s.Datasets[name]
	switch {
	case d == nil && c.release() >= v26:
		return uncaught("ZFSPathNotFoundException", "'%s' not found", name)
	case d == nil:
		return fail(eFAULT, "Failed to delete dataset: cannot open '%s': dataset does not exist", name)
	case c.release() >= v26:
		_, err := s.deleteByProgram(d, true)
		return err
	}
	_, err := s.deleteByCommand(d, true)
	return err
}

// open reports whether a running machine has a volume open, or a replication is writing the dataset.
func (s *state) open(d *dataset) bool {
	if d.arriving > 0 {
		return true
	}
	if !d.Volume {
		return false
	}
	for _, m := range s.VMs {
		if m.active() && slices.Contains(m.Domain.Volumes, d.Name) {
			return true
		}
	}
	return false
}

// mountBusy reports whether a running machine has a file in a file system open.
func (s *state) mountBusy(d *dataset) bool {
	for _, m := range s.VMs {
		if m.active() && slices.ContainsFunc(m.Domain.Files, func(p string) bool { in, _ := s.locate(p); return in == d }) {
			return true
		}
	}
	return false
}

// attached lists the active VMs with a disk, raw file or CD-ROM at or below a dataset, by id. The middleware reads the devices'
// records, which may differ from what a running VM has open.
func (s *Sim) attached(d *dataset) []*vm {
	var list []*vm
	for _, id := range vmIDs(s.state.VMs) {
		below := func(v *device) bool {
			at := v.filePath()
			return at == path.Join("/mnt", d.Name) || isBelow(at, path.Join("/mnt", d.Name))
		}
		if m := s.state.VMs[id]; s.appearsActive(m) && slices.ContainsFunc(s.state.devicesOf(id), below) {
			list = append(list, m)
		}
	}
	return list
}

// filePath returns the path of a device's file. For the middleware, a volume is at the place where a file system of its name
// would be.
func (d *device) filePath() string {
	if volume := volumeAt(d.Path); volume != "" {
		return path.Join("/mnt", volume)
	}
	return d.Path
}

func diskChoices(c *call) (any, error) {
	if err := c.args(nil); err != nil {
		return nil, err
	}
	s := &c.sim.state
	used := map[string]bool{}
	for _, d := range s.Devices {
		used[d.Path] = true
	}
	choices := map[string]string{}
	for name, d := range s.Datasets {
		if p := volumePath(name); d.Volume && !used[p] {
			choices[p] = name
		}
	}
	return choices, nil
}

func bindChoices() map[string]string { return sameKeys("127.0.0.1", "0.0.0.0", "::1", "::") }

func sameKeys(keys ...string) map[string]string {
	m := map[string]string{}
	for _, k := range keys {
		m[k] = k
	}
	return m
}
