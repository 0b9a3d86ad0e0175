package sim

import (
	"path"
	"slices"
	"strings"
)

// vmImportImage is the conversion of 25.04.2, which later releases keep. It checks neither the size nor whether a VM uses the
// volume, and silently drops data beyond the end of the volume.
func vmImportImage(c *call) (any, error) {
	var p struct {
		Image string `json:"diskimg" sim:"required,minlen=1"`
		Zvol  string `json:"zvol" sim:"required,minlen=1"`
	}
	if err := c.args([]string{"vm_import_disk_image"}, &p); err != nil {
		return nil, err
	}
	var d *dataset
	var f *file
	var data contents
	c.locked(func() {
		d = c.sim.state.Datasets[p.Zvol]
		if f, _ = c.sim.state.file(p.Image); f != nil && !f.Dir {
			data = f.Data.frozen()
		}
	})
	switch {
	case d == nil:
		return nil, fail(eNOENT, "zvol %s does not exist.", p.Zvol)
	case f == nil:
		return nil, fail(eNOENT, "Disk Image does not exist.")
	case !d.Volume:
		return nil, fail(eNOENT, "Zvol device does not exist.")
	}
	c.progress(0, "Disk Import Progress")
	image, err := openDisk(data, f.Size)
	if err != nil {
		return nil, fail(eFAULT, "Failed to import disk: qemu-img: Could not open '%s': %v\n", p.Image, err)
	}
	if err := c.pour(image, p.Zvol, d.Size); err != nil {
		return nil, importFailed(err)
	}
	return true, nil
}

// importFailed returns a qemu-img failure in the form of the older methods.
func importFailed(err error) error {
	if _, text, ok := strings.Cut(err.Error(), "qemu-img convert failed: "); ok {
		return fail(eFAULT, "Failed to import disk: %s\n", text)
	}
	return err
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
	var d *dataset
	var folder *file
	c.locked(func() {
		d = c.sim.state.Datasets[p.Zvol]
		folder, _ = c.sim.state.file(p.Directory)
	})
	format := strings.ToLower(p.Format)
	switch {
	case d == nil:
		return nil, fail(eNOENT, "zvol %s does not exist.", p.Zvol)
	case folder == nil || !folder.Dir:
		return nil, fail(eNOENT, "Export directory %s does not exist.", p.Directory)
	case !d.Volume:
		return nil, fail(eNOENT, "Zvol device does not exist.")
	case !slices.Contains([]string{"qcow2", "qed", "raw", "vdi", "vpc", "vmdk"}, format):
		return nil, fail(eNOENT, "Invalid disk format specified.")
	}
	c.progress(0, "Disk Export Progress")
	if format != p.Format {
		return nil, fail(eFAULT, "Failed to export disk: qemu-img: Unknown file format '%s'\n\n", p.Format)
	}
	target := path.Join(p.Directory, "vmdisk-"+path.Base(p.Zvol)+"."+format)
	var data contents
	c.locked(func() { data = d.Data.frozen() })
	return true, c.writeImage(data, d.Size, target, format)
}

// vMDeviceVirtualSizeArgs has the name that validation errors contain.
type vMDeviceVirtualSizeArgs struct {
	Path string `json:"path" sim:"required"`
}

func deviceVirtualSize(c *call) (any, error) {
	var p vMDeviceVirtualSizeArgs
	if err := c.args([]string{"vm_virtual_size"}, &p); err != nil {
		return nil, err
	}
	const at = "vm.device.virtual_size"
	if !path.IsAbs(p.Path) {
		return nil, refuse(at, eINVAL, "'%s' must be an absolute path.", p.Path)
	}
	f, _ := c.sim.state.file(p.Path)
	if f == nil || f.Dir {
		return nil, noSizeOf(at, p.Path)
	}
	image, err := openDisk(f.Data.frozen(), f.Size)
	if err != nil {
		return nil, noSizeOf(at, p.Path)
	}
	return image.size, nil
}
