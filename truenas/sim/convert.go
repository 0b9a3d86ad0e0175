package sim

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
)

func globalLock(name string) func(*call) string {
	return func(*call) string { return name }
}

// lockByZvol serializes the jobs on one volume.
func lockByZvol(c *call) string {
	var p struct {
		Zvol string `json:"zvol"`
	}
	if len(c.params) > 0 && json.Unmarshal(c.params[0], &p) != nil {
		p.Zvol = ""
	}
	return "zvol_disk_image_" + p.Zvol
}

// isImage decides by the suffix alone, so a volume whose name has such a suffix counts as an image.
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
	switch from, to := isImage(p.Source), isImage(p.Destination); {
	case from == to:
		return nil, refuse("vm.device.convert", eINVAL, "One path must be a disk image and the other must be a ZFS volume")
	case from:
		c.progress(0, "Convert to zvol progress")
		return true, c.importImage(p.Source, volumeNamed(p.Destination), "vm.device.convert.source")
	}
	c.progress(0, "Convert to disk image progress")
	return true, c.exportImage(volumeNamed(p.Source), p.Destination, formatOf(p.Destination), "vm.device.convert.destination")
}

// volumeNamed returns the name of a volume that is given by name or by path.
func volumeNamed(p string) string {
	return strings.ReplaceAll(strings.TrimPrefix(p, "/dev/zvol/"), "+", " ")
}

func formatOf(p string) string { return strings.TrimPrefix(path.Ext(p), ".") }

// idleVolume returns a volume that no running VM has open.
func (c *call) idleVolume(name, at string) (*dataset, error) {
	s := &c.sim.state
	d := s.Datasets[name]
	switch {
	case d == nil:
		return nil, refuse("zfs.resource.query", eNOENT, "'%s': not found", name)
	case !d.Volume:
		return nil, refuse(at, eINVAL, "'%s' is not a volume", name)
	case s.locked(d):
		return nil, refuse(at, eNOENT, "'%s' does not exist", volumePath(name))
	}
	m := c.sim.userOf(d)
	switch {
	case m == nil:
		return d, nil
	case c.release() >= v26:
		return nil, refuse(at, eBUSY, "'%s' is attached to %s VM '%s'; it must be stopped first", volumePath(name), strings.ToLower(m.State), m.Config.Name)
	}
	return nil, refuse(at, eBUSY, "'%s' is part of running VM. '%s' must be stopped first", volumePath(name), m.Config.Name)
}

// userOf returns the active VM that has a volume as a disk. A disk that was added since the start counts too.
func (s *Sim) userOf(d *dataset) *vm {
	for _, id := range vmIDs(s.state.VMs) {
		disk := func(v *device) bool { return v.DType == "DISK" && v.Path == volumePath(d.Name) }
		if m := s.state.VMs[id]; s.appearsActive(m) && (slices.Contains(m.Domain.Volumes, d.Name) || slices.ContainsFunc(s.state.devicesOf(id), disk)) {
			return m
		}
	}
	return nil
}

// openImage freezes a file and reads its header. The simulator does not model writes to an image during its conversion.
func (c *call) openImage(p, at string) (*disk, error) {
	if !strings.HasPrefix(p, "/mnt/") || path.Dir(p) == "/mnt" {
		return nil, refuse(at, eINVAL, "'%s' is an invalid location", p)
	}
	var data contents
	var f *file
	c.locked(func() {
		if f, _ = c.sim.state.file(p); f != nil && !f.Dir {
			data = f.Data.frozen()
		}
	})
	switch {
	case f == nil:
		return nil, refuse(at, eNOENT, "'%s' does not exist", p)
	case f.Dir:
		return nil, refuse(at, eINVAL, "'%s' is not a file", p)
	}
	image, err := openDisk(data, f.Size)
	if err != nil {
		return nil, noSizeOf(at, p)
	}
	return image, nil
}

// noSizeOf is the error for a file that qemu-img cannot read.
func noSizeOf(at, p string) error {
	return refuse(at, eINVAL, "Failed to run command to determine virtual size: Command '['qemu-img', 'info', '--output=json', '%s']' returned non-zero exit status 1.", p)
}

// importImage writes an image into a volume. Errors name the parameter at.
func (c *call) importImage(source, name, at string) error {
	image, err := c.openImage(source, at)
	if err != nil {
		return err
	}
	var volume int64
	c.locked(func() {
		var d *dataset
		if d, err = c.idleVolume(name, at); d != nil {
			volume = d.Size
		}
	})
	if err != nil {
		return err
	}
	if image.size > volume {
		return refuse(at, eNOSPC, "%s too small (~%dG). Minimum size must be %dG", name, wholeGiB(volume), wholeGiB(image.size))
	}
	return c.pour(image, name, volume)
}

// wholeGiB rounds a size up to whole GiB, at least one.
func wholeGiB(n int64) int64 { return max(1, (n+1<<30-1)>>30) }

// pour writes the disk inside an image into a volume.
func (c *call) pour(image *disk, name string, volume int64) error {
	data, err := image.read(c)
	if err == nil {
		err = c.linger()
	}
	if err != nil {
		return err
	}
	c.locked(func() { err = c.sim.state.overwrite(name, data, min(image.size, volume)) })
	return err
}

// qemuFailed returns TrueNAS's report of a failed qemu-img (rule 17). TrueNAS treats the exit status as an errno, so every
// failure is EPERM.
func qemuFailed(format string, a ...any) error {
	return fail(ePERM, "qemu-img convert failed: qemu-img: "+format, a...)
}

// overwrite replaces the first bytes of a volume and keeps the rest.
func (s *state) overwrite(name string, data contents, size int64) error {
	d := s.Datasets[name]
	if d == nil {
		return qemuFailed("%s: error while converting raw: Could not open '%s': No such file or directory", volumePath(name), volumePath(name))
	}
	if value, _, _ := s.inherited(d, "readonly"); value == "on" {
		return qemuFailed("%s: error while converting raw: Could not open '%s': Read-only file system", volumePath(name), volumePath(name))
	}
	if s.checkSpace(d, data.stored*blockSize) != nil {
		return qemuFailed("error while writing at byte 0: No space left on device")
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
func (c *call) exportImage(name, p, format, at string) error {
	var err error
	var data contents
	var size int64
	c.locked(func() {
		var d *dataset
		if err = c.freeFor(p, at); err != nil {
			return
		}
		if d, err = c.idleVolume(name, at); err == nil {
			data, size = d.Data.frozen(), d.Size
		}
	})
	if err != nil {
		return err
	}
	return c.writeImage(data, size, p, format)
}

// writeImage writes the data of a volume into a file, as raw or qcow2. The simulator supports no other formats for output.
func (c *call) writeImage(data contents, size int64, p, format string) error {
	f := &file{Mode: 0o644, Size: size, Modified: c.now(), Data: data.copied()}
	switch format {
	case "raw":
	case "qcow2":
		f.Data, f.Size = writeQcow2(&data, size)
	default:
		return qemuFailed("the simulator writes raw and qcow2, and not %s", format)
	}
	if err := c.linger(); err != nil {
		return err
	}
	var err error
	c.progress(90, "Convert to disk image progress")
	c.locked(func() { err = c.sim.state.storeNew(p, f) })
	return err
}

// freeFor checks that a file can be made at a path. In 25.10 TrueNAS checks the parent of the file's folder instead of the
// folder.
func (c *call) freeFor(p, at string) error {
	folder := path.Dir(p)
	if c.release() < v26 {
		folder = path.Dir(folder)
	}
	s := &c.sim.state
	above, _ := s.file(folder)
	there, _ := s.file(p)
	switch {
	case !strings.HasPrefix(p, "/mnt/") || path.Dir(p) == "/mnt":
		return refuse(at, eINVAL, "'%s' is an invalid location", p)
	case there != nil:
		return refuse(at, eEXIST, "'%s' already exists and would be overwritten", p)
	case above == nil && folder != "/mnt":
		return refuse(at, eNOENT, "'%s' does not exist", path.Dir(p))
	case above != nil && !above.Dir:
		return refuse(at, eINVAL, "'%s' is not a directory", path.Dir(p))
	}
	return nil
}

func (s *state) storeNew(p string, f *file) error {
	d, below, err := s.folderOf(p)
	if err != nil {
		return qemuFailed("%s: error while converting raw: Could not create '%s': No such file or directory", p, p)
	}
	if s.checkSpace(d, f.Data.stored*blockSize) != nil {
		return qemuFailed("error while writing at byte 0: No space left on device")
	}
	d.store(below, f)
	s.touch(d)
	return nil
}
