package server

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// diskHardware is the requested hardware of a disk, without its size.
type diskHardware struct {
	name   string // the disk's name in the keys of settings
	all    settings.Values
	wanted settings.Disk
	like   *truenas.DeviceAttributes // a clone: the disk of its source
	was    truenas.Dataset           // the volume, when it exists
	blank  bool                      // the volume is made new, not cloned, copied or imported
}

// equip gives each planned disk the settings of its class, and refuses settings of disks that the VM does not have.
func (p *plan) equip(want spec.VM, seen *observation, blankRoot bool) error {
	v := p.class.Hardware
	names := make([]string, len(p.disks))
	for i := range p.disks {
		d := &p.disks[i]
		names[i] = diskNameOf(i, d.volume, want.Disks)
		d.name, d.all, d.wanted, d.was = names[i], v, v.Disk(names[i]), seen.datasets[d.volume]
		d.blank = i > 0 || blankRoot
		if p.inherits != nil {
			d.blank = false
			source, _, _ := strings.Cut(cmp.Or(d.clone, d.copy), "@")
			d.like = attachedDisk(*p.inherits, source)
		}
		if err := d.checkFixed(p.existing); err != nil {
			return err
		}
	}
	return checkDiskNames(v, names)
}

// diskNameOf returns the name of a VM's disk in the keys of settings: the first one is the root disk.
func diskNameOf(i int, volume string, disks []spec.ExtraDisk) string {
	if i == 0 {
		return settings.RootDisk
	}
	for _, d := range disks {
		if d.Volume == path.Base(volume) {
			return d.Name
		}
	}
	return path.Base(volume)
}

// checkDiskNames refuses a setting for a disk that the VM does not have, and one for the root disk when another disk has its name.
func checkDiskNames(v settings.Values, names []string) error {
	if key := v.DiskKey(settings.RootDisk); key != settings.Prefix && slices.Contains(names[1:], settings.RootDisk) {
		return refusal.InvalidArgument(spec.ExtraField+key, "the VM has a disk named %q beside its root disk; give that disk another name", settings.RootDisk)
	}
	for _, name := range v.Disks() {
		if !slices.Contains(names, name) {
			return refusal.InvalidArgument(spec.ExtraField+v.DiskKey(name), "the VM has no disk %q; it has %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

func (h diskHardware) field(name string) string { return spec.ExtraField + h.all.KeyFor(name, h.name) }

// checkFixed refuses settings that an existing disk cannot change, and a block size for a volume that takes the block size of its
// source.
func (h diskHardware) checkFixed(vm *truenas.VM) error {
	size := h.wanted.BlockSize
	switch {
	case size == "":
	case !h.blank && h.all.GivenFor("disk_block_size", h.name):
		return refusal.InvalidArgument(h.field("disk_block_size"), "the disk is made from an image or another disk and has its block size")
	case h.blank && h.was.ID != "" && h.was.VolBlockSizeBytes != kibibytes(size):
		return refusal.FailedPrecondition("%s: disk %s has blocks of %d bytes, not %s; it cannot be changed", h.field("disk_block_size"), h.name, h.was.VolBlockSizeBytes, size)
	}
	if vm == nil || h.was.ID == "" {
		return nil
	}
	have := attachedDisk(*vm, h.was.ID)
	if have == nil {
		return nil
	}
	for _, sector := range []struct {
		name, want string
		have       int
	}{{"disk_sector_size", h.wanted.LogicalSector, have.LogicalSectorSize}, {"disk_physical_sector_size", h.wanted.PhysicalSector, have.PhysicalSectorSize}} {
		if has := strconv.Itoa(max(sector.have, 512)); sector.want != "" && sector.want != has {
			return refusal.FailedPrecondition("%s: disk %s has sectors of %s bytes, not %s; it cannot be changed", h.field(sector.name), h.name, has, sector.want)
		}
	}
	return nil
}

func kibibytes(text string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(text, "k"), 10, 64) // The table lists the valid values.
	return n << 10
}

// attachedDisk returns the device of a VM for a volume, or nil.
func attachedDisk(vm truenas.VM, volume string) *truenas.DeviceAttributes {
	for _, d := range vm.Devices {
		if d.Attributes.DType == truenas.DeviceDisk && d.Attributes.Path == spec.ZvolPath(volume) {
			return &d.Attributes
		}
	}
	return nil
}

// attributes returns the attributes of the disk's device.
func (d plannedDisk) attributes() truenas.DeviceAttributes {
	a := truenas.Disk(spec.ZvolPath(d.volume))
	if like := d.like; like != nil {
		a.Type, a.IOType, a.LogicalSectorSize, a.PhysicalSectorSize = like.Type, like.IOType, like.LogicalSectorSize, like.PhysicalSectorSize
	}
	a, _ = d.onto(a)
	a.LogicalSectorSize, a.PhysicalSectorSize = sectorSize(d.wanted.LogicalSector, a.LogicalSectorSize), sectorSize(d.wanted.PhysicalSector, a.PhysicalSectorSize)
	return a
}

func sectorSize(wanted string, otherwise int) int {
	if n, err := strconv.Atoi(wanted); err == nil {
		return n
	}
	return otherwise
}

// onto applies the changeable settings to a device, and lists the changes.
func (h diskHardware) onto(have truenas.DeviceAttributes) (truenas.DeviceAttributes, []hardware.Difference) {
	var list []hardware.Difference
	for _, s := range []struct {
		name, want string
		field      *string
	}{{"disk_bus", hardware.NASWord(h.wanted.Bus), &have.Type}, {"disk_io", hardware.NASWord(h.wanted.IO), &have.IOType}} {
		if s.want != "" && *s.field != s.want {
			list = append(list, hardware.Difference{Field: h.field(s.name), Have: *s.field, Want: s.want})
			*s.field = s.want
		}
	}
	return have, list
}

// tune writes the properties of a volume that differ from the settings into an update, and reports whether there are any.
func (h diskHardware) tune(update *truenas.DatasetUpdate) (changed bool) {
	for _, p := range []struct {
		has, want string
		to        **string
	}{
		{h.was.Compression, h.wanted.Compression, &update.Compression},
		{h.was.Sync, h.wanted.Sync, &update.Sync},
		{h.was.Deduplication, h.wanted.Deduplication, &update.Deduplication},
	} {
		if p.want != "" && !strings.EqualFold(p.has, p.want) {
			word := hardware.NASWord(p.want)
			*p.to, changed = &word, true
		}
	}
	return changed
}

// tuned reports whether an existing volume has all properties that its settings request.
func (d plannedDisk) tuned() bool {
	return !d.exists && d.copy == "" || !d.tune(new(truenas.DatasetUpdate))
}

// cloneProperties returns the properties of a cloned volume, by ZFS's names.
func (h diskHardware) cloneProperties() map[string]string {
	props := map[string]string{}
	for name, value := range map[string]string{"compression": h.wanted.Compression, "sync": h.wanted.Sync, "dedup": h.wanted.Deduplication} {
		if value != "" {
			props[name] = value
		}
	}
	return props
}

// newVolume returns a blank volume with the disk's settings.
func (d plannedDisk) newVolume() truenas.DatasetCreate {
	return truenas.DatasetCreate{
		Name: d.volume, Type: truenas.Volume, VolsizeBytes: d.bytes, Sparse: !d.thick, VolBlockSize: hardware.NASWord(d.wanted.BlockSize),
		Compression: hardware.NASWord(d.wanted.Compression), Sync: hardware.NASWord(d.wanted.Sync), Deduplication: hardware.NASWord(d.wanted.Deduplication),
	}
}

// diskDevice returns the existing VM's device of a planned disk.
func (p *plan) diskDevice(d plannedDisk) (truenas.Device, bool) {
	return p.device(func(have truenas.Device) bool {
		return have.Attributes.DType == truenas.DeviceDisk && have.Attributes.Path == spec.ZvolPath(d.volume)
	})
}

// diskDiffers returns the first setting in which a disk of the existing VM differs.
func (p *plan) diskDiffers() *hardware.Difference {
	for _, d := range p.disks {
		if have, ok := p.diskDevice(d); ok {
			if _, list := d.onto(have.Attributes); len(list) > 0 {
				return &list[0]
			}
		}
	}
	return nil
}

// tuned reports whether all existing volumes have the properties that their settings request.
func (p *plan) tuned() bool {
	return !slices.ContainsFunc(p.disks, func(d plannedDisk) bool { return !d.tuned() })
}

// compareDiskHardware plans the changes of one disk's settings.
func (c *comparison) compareDiskHardware(name, volume string, blank bool) error {
	v := c.want.Class.Hardware
	h := diskHardware{name: name, all: v, wanted: v.Disk(name), was: c.datasets[volume], blank: blank}
	if err := h.checkFixed(&c.vm); err != nil {
		return err
	}
	update := c.volumes[volume]
	if h.tune(&update) {
		c.volumes[volume] = update
	}
	for _, d := range c.vm.Devices {
		if d.Attributes.DType != truenas.DeviceDisk || d.Attributes.Path != spec.ZvolPath(volume) {
			continue
		}
		if attributes, list := h.onto(d.Attributes); len(list) > 0 {
			c.devices[d.ID] = attributes
			c.needsOff("%s", list[0].Field)
		}
	}
	return nil
}

// diskText describes the settings of a disk that a VM starts with, except its volume and its size; "" for a disk with default
// settings.
func diskText(a truenas.DeviceAttributes) string {
	if a.Type == "VIRTIO" && a.IOType == "THREADS" && a.LogicalSectorSize == 0 && a.PhysicalSectorSize == 0 {
		return ""
	}
	return fmt.Sprintf(" %s %s %d %d", a.Type, a.IOType, a.LogicalSectorSize, a.PhysicalSectorSize)
}
