package server

import (
	"fmt"
	"path"
	"slices"

	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/truenas"
)

// compareDisks compares the root disk and the additional ones. A disk of a person's, outside the VM's
// dataset, is not counted.
func (c *comparison) compareDisks() error {
	volumes := disksOf(c.vm)
	if len(volumes) == 0 {
		return refusal.FailedPrecondition("VM %q has no disks", displayName(c.vm))
	}
	root, class := c.s.layout.rootOf(c.vm), c.want.class
	if err := c.resize("desired_json.Class.DiskDefaults", root, class.rootGiB*gib, class.thick, class.thin); err != nil {
		return err
	}
	// The block size of a root disk counts only when it is asked for by name: most are clones of an image.
	named := class.hardware.GivenFor("disk_block_size", settings.RootDisk)
	if err := c.compareDiskHardware(settings.RootDisk, root, named); err != nil {
		return err
	}
	names := []string{settings.RootDisk}
	known := map[string]bool{root: true}
	for i, d := range c.want.disks {
		volume := c.home + "/" + d.volume
		known[volume], names = true, append(names, d.name)
		if !slices.Contains(volumes, volume) {
			c.add = append(c.add, plannedDisk{
				at: fmt.Sprintf("desired_json.Disks[%d].SizeGiB", i), order: orderDisk + i, volume: volume, bytes: d.sizeGiB * gib, thick: d.thick,
				diskHardware: diskHardware{name: d.name, all: class.hardware, asked: class.hardware.Disk(d.name), blank: true},
			})
			c.needsOff("the list of disks")
			continue
		}
		if err := c.resize("desired_json.Disks["+d.name+"]", volume, d.sizeGiB*gib, d.thick, d.thin); err != nil {
			return err
		}
		if err := c.compareDiskHardware(d.name, volume, true); err != nil {
			return err
		}
	}
	if err := checkDiskNames(class.hardware, names); err != nil {
		return err
	}
	for _, volume := range volumes {
		if !known[volume] && inTree(volume, c.home) {
			return refusal.FailedPrecondition("desired_json.Disks: VM %q has the disk %s; a disk is never taken away, since its data would be lost", displayName(c.vm), path.Base(volume))
		}
	}
	return nil
}

// resize plans the growth and the reservation of a volume. A size of zero and a missing type ask for
// nothing. The type of a disk that this provider did not make is its maker's.
func (c *comparison) resize(field, volume string, want int64, thick, thin bool) error {
	has := c.datasets[volume]
	size := max(want, has.VolsizeBytes)
	if want > 0 && want < has.VolsizeBytes {
		return refusal.FailedPrecondition("%s.SizeGiB: disk %s has %d GiB and cannot shrink to %d GiB", field, path.Base(volume), has.VolsizeBytes/gib, want/gib)
	}
	var update truenas.DatasetUpdate
	changed := false
	if size > has.VolsizeBytes {
		update.VolsizeBytes, changed = &size, true
		c.needsOff("the size of disk %s", path.Base(volume))
	}
	if _, ours := c.s.treeOf(volume); ours {
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

// checkSpace compares new, growing and reserved disks with the space of their pool.
func (c *comparison) checkSpace() error {
	pool, ok := c.datasets[poolOf(c.home)]
	if !ok {
		return refusal.FailedPrecondition("the NAS has no pool %q", poolOf(c.home))
	}
	var reserve int64
	for _, d := range c.add {
		if d.bytes > pool.AvailableBytes/100*maxVolumePercent {
			return noSpace("desired_json.Disks", d.bytes, pool)
		}
		if d.thick {
			reserve += d.bytes
		}
	}
	for volume, update := range c.volumes {
		has := c.datasets[volume]
		if size := update.VolsizeBytes; size != nil && *size > (pool.AvailableBytes+has.UsedBytes)/100*maxVolumePercent {
			return noSpace("desired_json", *size, pool)
		}
		if bytes := update.RefReservationBytes; bytes != nil {
			reserve += max(0, *bytes-has.RefReservationBytes)
		}
	}
	if reserve > pool.AvailableBytes {
		return refusal.New(codes.ResourceExhausted, "desired_json: no space: reserving %d GiB more for thick disks does not fit the %d GiB available on pool %q", reserve/gib, pool.AvailableBytes/gib, pool.ID)
	}
	return nil
}

// home is the dataset that holds a VM's additional disks: where its own first one lies, or where
// Create would have put it.
func (s *Server) home(vm truenas.VM) string {
	for _, volume := range disksOf(vm) {
		if tree, ok := s.treeOf(volume); ok {
			if _, imported := s.layout.importOf(volume); !imported {
				return tree
			}
		}
	}
	return s.layout.machine("", s.onNAS(vm))
}
