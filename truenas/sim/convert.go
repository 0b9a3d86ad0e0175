package sim

import (
	"encoding/json"
	"path"
	"strings"
)

func globalLock(name string) func(*call) string {
	return func(*call) string { return name }
}

// lockByZvol keeps the jobs on one volume apart.
func lockByZvol(c *call) string {
	var p struct {
		Zvol string `json:"zvol"`
	}
	if len(c.params) > 0 && json.Unmarshal(c.params[0], &p) != nil {
		p.Zvol = ""
	}
	return "zvol_disk_image_" + p.Zvol
}

// isImage goes by the end of the name and nothing else, so a volume whose name
// ends so is taken for an image.
func isImage(p string) bool {
	for _, suffix := range []string{"qcow2", "qed", "raw", "vdi", "vhdx", "vmdk"} {
		if strings.HasSuffix(p, suffix) {
			return true
		}
	}
	return false
}

func deviceConvert(c *call) (any, error) {
	var p struct {
		Source      string `json:"source" sim:"required,minlen=1"`
		Destination string `json:"destination" sim:"required,minlen=1"`
	}
	if err := c.args([]string{"vm_convert"}, &p); err != nil {
		return nil, err
	}
	const at = "vm.device.convert"
	var v invalid
	switch from, to := isImage(p.Source), isImage(p.Destination); {
	case from && to:
		v.add(at, eINVAL, "One of source or destination must be a zvol and not a disk image")
	case !from && !to:
		v.add(at, eINVAL, "One of source or destination must be a disk image: qcow2, qed, raw, vdi, vhdx, vmdk")
	case from:
		return true, c.importImage(p.Source, volumeAt(p.Destination), true)
	default:
		return true, c.exportImage(volumeAt(p.Source), p.Destination, formatOf(p.Destination))
	}
	return nil, v.err()
}

func formatOf(p string) string { return strings.TrimPrefix(path.Ext(p), ".") }

// idleVolume finds a volume that no running machine has open.
func (s *state) idleVolume(name string) (*dataset, error) {
	var v invalid
	d := s.Datasets[name]
	switch {
	case d == nil || !d.Volume:
		v.add("vm.device.convert", eNOENT, "'%s' does not exist", volumePath(name))
	case s.open(d):
		v.add("vm.device.convert", eBUSY, "'%s' is part of running VM. VM must be stopped first.", name)
	}
	return d, v.err()
}

// openImage freezes a file and reads its header. An image that is written to
// while it is converted is none of the simulator's subjects.
func (c *call) openImage(p string) (*disk, error) {
	var v invalid
	if !strings.HasPrefix(path.Clean(p), "/mnt/") {
		v.add("vm.device.convert", eINVAL, "'%s' is an invalid location", p)
		return nil, v
	}
	var data contents
	size := int64(-1)
	c.locked(func() {
		if f, _ := c.sim.state.file(p); f != nil && !f.Dir {
			data, size = f.Data.frozen(), f.Size
		}
	})
	if size < 0 {
		v.add("vm.device.convert", eNOENT, "'%s' does not exist", p)
		return nil, v
	}
	return openDisk(data, size)
}

// importImage writes an image into a volume. Unless sized, nothing looks
// whether it fits, and what does not is lost without a word.
func (c *call) importImage(source, name string, sized bool) error {
	var err error
	var volume int64
	c.locked(func() {
		var d *dataset
		if d, err = c.sim.state.idleVolume(name); d != nil {
			volume = d.Size
		}
	})
	if err != nil {
		if sized {
			return err
		}
		if volume == 0 {
			return fail(eNOENT, "zvol %s does not exist.", name)
		}
	}
	image, err := c.openImage(source)
	if err != nil {
		return err
	}
	if sized && image.size > volume {
		var v invalid
		v.add("vm.device.convert", eNOSPC, "%s is too small for the image: %d bytes are required, it has %d", volumePath(name), image.size, volume)
		return v
	}
	data, err := image.read(c)
	if err != nil {
		return err
	}
	c.locked(func() { err = c.sim.state.overwrite(name, data, min(image.size, volume)) })
	return err
}

// overwrite replaces the first bytes of a volume; what lies behind them stays.
func (s *state) overwrite(name string, data contents, size int64) error {
	d := s.Datasets[name]
	if d == nil {
		return fail(eFAULT, "Failed to convert: could not open '%s': No such file or directory", volumePath(name))
	}
	if value, _, _ := s.inherited(d, "readonly"); value == "on" {
		return fail(eFAULT, "Failed to convert: could not open '%s': Read-only file system", volumePath(name))
	}
	if err := s.room(d, data.stored*blockSize); err != nil {
		return err
	}
	var old []int64
	d.Data.above(nil, func(i int64, _ *block) {
		if (i+1)*blockSize <= size && data.at(i) == nil {
			old = append(old, i)
		}
	})
	for _, i := range old {
		d.Data.put(i, nil)
	}
	data.above(nil, func(i int64, b *block) {
		if n := min(blockSize, size-i*blockSize); n == blockSize {
			d.Data.put(i, b.data)
		} else if n > 0 {
			d.Data.writeAt(b.data[:n], i*blockSize)
		}
	})
	s.touch(d)
	return nil
}

// exportImage writes a volume into a new file.
func (c *call) exportImage(name, p, format string) error {
	var err error
	var data contents
	var size int64
	c.locked(func() {
		var d *dataset
		if d, err = c.sim.state.idleVolume(name); err == nil {
			data, size = d.Data.frozen(), d.Size
			err = c.sim.state.freeFor(p)
		}
	})
	if err != nil {
		return err
	}
	f := &file{Mode: 0o644, Size: size, Modified: c.now(), Data: data.copied()}
	switch format {
	case "raw":
	case "qcow2":
		f.Data, f.Size = writeQcow2(&data, size)
	default:
		return fail(eFAULT, "Failed to convert: the simulator writes raw and qcow2, and not %s", format)
	}
	c.progress(90, "Writing")
	c.locked(func() { err = c.sim.state.storeNew(p, f) })
	return err
}

// freeFor holds that a file can be made at a path.
func (s *state) freeFor(p string) error {
	if f, _ := s.file(p); f != nil {
		var v invalid
		v.add("vm.device.convert", eEXIST, "'%s' already exists", p)
		return v
	}
	_, _, err := s.folderOf(p)
	return err
}

func (s *state) storeNew(p string, f *file) error {
	if err := s.freeFor(p); err != nil {
		return err
	}
	d, below := s.locate(p)
	if err := s.room(d, f.Data.stored*blockSize); err != nil {
		return err
	}
	d.store(below, f)
	s.touch(d)
	return nil
}

// vmImportImage checks neither the size nor whether a machine runs on the
// volume.
func vmImportImage(c *call) (any, error) {
	var p struct {
		Image string `json:"diskimg" sim:"required,minlen=1"`
		Zvol  string `json:"zvol" sim:"required,minlen=1"`
	}
	if err := c.args([]string{"vm_import_disk_image"}, &p); err != nil {
		return nil, err
	}
	if err := c.importImage(p.Image, p.Zvol, false); err != nil {
		return nil, err
	}
	return true, nil
}

func vmExportImage(c *call) (any, error) {
	var p struct {
		Format    string `json:"format" sim:"required,minlen=1"`
		Directory string `json:"directory" sim:"required,minlen=1"`
		Zvol      string `json:"zvol" sim:"required,minlen=1"`
	}
	if err := c.args([]string{"vm_export_disk_image"}, &p); err != nil {
		return nil, err
	}
	target := path.Join(p.Directory, "vmdisk-"+path.Base(p.Zvol)+"."+p.Format)
	if err := c.exportImage(p.Zvol, target, p.Format); err != nil {
		return nil, err
	}
	return true, nil
}

func deviceVirtualSize(c *call) (any, error) {
	var p struct {
		Path string `json:"path" sim:"required"`
	}
	if err := c.args([]string{"vm_virtual_size"}, &p); err != nil {
		return nil, err
	}
	f, _ := c.sim.state.file(p.Path)
	if f == nil || f.Dir {
		var v invalid
		v.add("vm.device.virtual_size", eNOENT, "'%s' does not exist", p.Path)
		return nil, v
	}
	image, err := openDisk(f.Data.frozen(), f.Size)
	if err != nil {
		return nil, err
	}
	return image.size, nil
}
