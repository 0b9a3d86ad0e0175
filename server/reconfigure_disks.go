package server

import (
	"fmt"
	"path"
	"slices"

	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// compareDisks compares the root disk and the additional ones. It ignores a disk of a user, outside the VM's dataset.
func (c *comparison) compareDisks() error {
	volumes := vmrecord.Disks(c.vm)
	if len(volumes) == 0 {
		return refusal.FailedPrecondition("VM %q has no disks", vmrecord.Name(c.vm))
	}
	root, class := c.s.layout.RootVolume(vmrecord.Disks(c.vm)), c.want.Class
	if err := c.resize("desired_json.Class.DiskDefaults", root, class.RootGiB*spec.GiB, class.Thick, class.Thin); err != nil {
		return err
	}
	// The block size of a root disk is compared only when a setting names the disk: most root disks are clones of an image.
	named := class.Hardware.GivenFor("disk_block_size", settings.RootDisk)
	if err := c.compareDiskHardware(settings.RootDisk, root, named); err != nil {
		return err
	}
	names := []string{settings.RootDisk}
	known := map[string]bool{root: true}
	for i, d := range c.want.Disks {
		volume := c.s.layout.DisksDataset(c.home, d.Pool) + "/" + d.Volume
		known[volume], names = true, append(names, d.Name)
		if !slices.Contains(volumes, volume) {
			add := plannedDisk{
				at: fmt.Sprintf("desired_json.Disks[%d].SizeGiB", i), order: hardware.OrderDisk + i, volume: volume, bytes: d.SizeGiB * spec.GiB, thick: d.Thick,
				diskHardware: diskHardware{name: d.Name, all: class.Hardware, wanted: class.Hardware.Disk(d.Name), blank: true},
			}
			if err := c.reuse(&add); err != nil {
				return err
			}
			c.add = append(c.add, add)
			c.needsOff("the list of disks")
			continue
		}
		if err := c.resize("desired_json.Disks["+d.Name+"]", volume, d.SizeGiB*spec.GiB, d.Thick, d.Thin); err != nil {
			return err
		}
		if err := c.compareDiskHardware(d.Name, volume, true); err != nil {
			return err
		}
	}
	if err := checkDiskNames(class.Hardware, names); err != nil {
		return err
	}
	for _, volume := range volumes {
		if !known[volume] && spec.InTree(volume, c.s.layout.DisksDataset(c.home, spec.PoolOf(volume))) {
			return refusal.FailedPrecondition("desired_json.Disks: VM %q has disk %s on pool %q; disks are never removed, because their data would be lost", vmrecord.Name(c.vm), path.Base(volume), spec.PoolOf(volume))
		}
	}
	return nil
}

// reuse plans the volume of a disk that the VM lacks: an interrupted Reconfigure may have made it, in the size that was desired then,
// or a user may have detached it.
func (c *comparison) reuse(d *plannedDisk) error {
	was, ok := c.datasets[d.volume]
	if !ok {
		return nil
	}
	d.exists, d.has, d.reserved, d.used, d.was = true, was.VolsizeBytes, was.RefReservationBytes, was.UsedBytes, was
	switch {
	case was.Type != truenas.Volume:
		return refusal.FailedPrecondition("%s: %s is a dataset, not a volume", d.at, d.volume)
	case d.bytes < d.has:
		return refusal.FailedPrecondition("%s: volume %s exists, has %d GiB and cannot shrink to %d GiB", d.at, d.volume, d.has/spec.GiB, d.bytes/spec.GiB)
	}
	return d.checkFixed(nil)
}

// resize plans the growth and the reservation of a volume. A size of zero and a missing type request nothing. It leaves the type of
// a disk that this provider did not make unchanged.
func (c *comparison) resize(field, volume string, want int64, thick, thin bool) error {
	has := c.datasets[volume]
	size := max(want, has.VolsizeBytes)
	if want > 0 && want < has.VolsizeBytes {
		return refusal.FailedPrecondition("%s.SizeGiB: disk %s has %d GiB and cannot shrink to %d GiB", field, path.Base(volume), has.VolsizeBytes/spec.GiB, want/spec.GiB)
	}
	var update truenas.DatasetUpdate
	changed := false
	if size > has.VolsizeBytes {
		update.VolsizeBytes, changed = &size, true
		c.needsOff("the size of disk %s", path.Base(volume))
	}
	if _, ours := c.s.marks.Tree(volume); ours {
		none := int64(0)
		switch {
		case thick && has.RefReservationBytes < size:
			update.RefReservationBytes, changed = &size, true
		case thin && has.RefReservationBytes > 0:
			update.RefReservationBytes, changed = &none, true
		}
	}
	if changed {
		c.volumes[volume] = update
	}
	return nil
}

// checkSpace compares new, growing and reserved disks with the space of their pools.
func (c *comparison) checkSpace() error {
	pool, ok := c.datasets[spec.PoolOf(c.home)]
	if !ok {
		return refusal.FailedPrecondition("the NAS has no pool %q", spec.PoolOf(c.home))
	}
	reserved := map[string]int64{pool.ID: 0}
	for _, d := range c.add {
		pool := c.datasets[spec.PoolOf(d.volume)]
		if (!d.exists || d.grows()) && d.bytes > (pool.AvailableBytes+d.used)/100*landing.MaxVolumePercent {
			return landing.NoSpace("desired_json.Disks", d.bytes, pool)
		}
		if d.thick {
			reserved[pool.ID] += max(0, d.bytes-d.reserved)
		}
	}
	for volume, update := range c.volumes {
		has, pool := c.datasets[volume], c.datasets[spec.PoolOf(volume)]
		if size := update.VolsizeBytes; size != nil && *size > (pool.AvailableBytes+has.UsedBytes)/100*landing.MaxVolumePercent {
			return landing.NoSpace("desired_json", *size, pool)
		}
		if bytes := update.RefReservationBytes; bytes != nil {
			reserved[pool.ID] += max(0, *bytes-has.RefReservationBytes)
		}
	}
	for id, reserve := range reserved {
		if free := c.datasets[id].AvailableBytes; reserve > free {
			return refusal.New(codes.ResourceExhausted, "desired_json: no space: reserving %d GiB more for thick disks does not fit the %d GiB available on pool %q", reserve/spec.GiB, free/spec.GiB, id)
		}
	}
	return nil
}

// home returns the dataset for a VM's additional disks: the dataset of its first disk in this provider's tree, or the dataset that
// Create would use.
func (s *Server) home(vm truenas.VM) string {
	disks := vmrecord.Disks(vm)
	for _, volume := range append([]string{s.layout.RootVolume(disks)}, disks...) {
		if tree, ok := s.marks.Tree(volume); ok {
			if _, imported := s.layout.ImportOf(volume); !imported {
				return tree
			}
		}
	}
	return s.layout.VMDataset("", s.marks.OnNAS(vm))
}
