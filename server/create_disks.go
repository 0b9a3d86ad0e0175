package server

import (
	"fmt"
	"path"

	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/truenas"
)

// maxVolumePercent of what is available is the largest volume that TrueNAS makes unless it is
// forced to, thin ones included.
const maxVolumePercent = 80

// planDisks plans the root disk and the additional ones.
func (p *plan) planDisks(want spec, seen *observation) error {
	root, err := p.planRoot(want, seen)
	if err != nil {
		return err
	}
	p.disks = append(p.disks, root)
	for i, d := range want.disks {
		p.disks = append(p.disks, p.seenDisk(plannedDisk{at: fmt.Sprintf("disks_json[%d].SizeGiB", i), order: orderDisk + i, volume: p.dataset + "/" + d.volume, bytes: d.sizeGiB * gib, thick: d.thick}, seen))
	}
	return nil
}

func (p *plan) planRoot(want spec, seen *observation) (plannedDisk, error) {
	d := plannedDisk{at: "class_json.DiskDefaults.SizeGiB", order: orderRoot, volume: p.dataset + "/" + rootDisk, bytes: want.class.rootGiB * gib, thick: want.class.thick}
	switch want.image.kind {
	case imageAttach:
		return p.planAttached(d, want, seen)
	case imageClone:
		if d = p.seenDisk(d, seen); !d.exists {
			return p.planClone(d, want.image, seen)
		}
	}
	return p.seenDisk(d, seen), nil
}

// seenDisk notes that an earlier attempt made the volume already.
func (p *plan) seenDisk(d plannedDisk, seen *observation) plannedDisk {
	if was, ok := seen.datasets[d.volume]; ok {
		d.exists, d.has = true, was.VolsizeBytes
	}
	return d
}

func (p *plan) planClone(d plannedDisk, image imageRef, seen *observation) (plannedDisk, error) {
	const field = "image_json.Path"
	volume, ok := seen.datasets[image.volume]
	switch {
	case seen.snapshot == nil || !ok:
		return d, conflict("%s: %s is not on the NAS; it was never prepared, or was deleted there", field, image.snap)
	case volume.Type != truenas.Volume:
		return d, conflict("%s: %s is a snapshot of a dataset, not of a volume", field, image.snap)
	case poolOf(image.volume) != poolOf(p.dataset):
		return d, conflict("%s: %s is on pool %q and the VM on pool %q; a clone cannot leave its pool", field, image.snap, poolOf(image.volume), poolOf(p.dataset))
	}
	if prepared, ok := seen.datasets[path.Dir(image.volume)]; ok && image.prepared != nil {
		p.image = &prepared
	}
	d.clone, d.has = image.snap, seen.snapshot.VolsizeBytes
	return d, d.atLeast(d.has)
}

// atLeast makes the disk as large as what it is made from, unless a smaller one was asked for.
func (d *plannedDisk) atLeast(bytes int64) error {
	if d.bytes == 0 {
		d.bytes = bytes
	}
	if d.bytes < bytes {
		return invalid(d.at, "%d GiB is smaller than the image, which has %d GiB; a disk never shrinks", d.bytes/gib, (bytes+gib-1)/gib)
	}
	return nil
}

// planAttached takes the very volume that the path names, as an import landed it.
func (p *plan) planAttached(d plannedDisk, want spec, seen *observation) (plannedDisk, error) {
	const field = "image_json.Path"
	d.volume = want.image.volume
	volume, ok := seen.datasets[d.volume]
	switch {
	case !ok:
		return d, conflict("%s: volume %s is not on the NAS", field, d.volume)
	case volume.Type != truenas.Volume:
		return d, conflict("%s: %s is a dataset, not a volume", field, d.volume)
	}
	var self int64 = -1
	if p.existing != nil {
		self = p.existing.ID
	}
	if users := usersOf(seen.vms, d.volume, self); len(users) > 0 {
		return d, conflict("%s: volume %s is a disk of VM %q already", field, d.volume, users[0])
	}
	d.exists, d.has = true, volume.VolsizeBytes
	return d, d.atLeast(d.has)
}

// checkSpace holds what would be made against what the pool has.
func (p *plan) checkSpace(seen *observation) error {
	pool := poolOf(p.dataset)
	available := seen.datasets[pool].AvailableBytes
	var reserved int64
	for _, d := range p.disks {
		grows := d.bytes - d.has
		if d.exists && grows <= 0 {
			continue
		}
		if d.bytes > available/100*maxVolumePercent {
			return noSpace(d.at, d.bytes, seen.datasets[pool])
		}
		if d.thick {
			reserved += grows
		}
		if reserved > available {
			return refused(codes.ResourceExhausted, "%s: no space: thick disks of %d GiB do not fit the %d GiB available on pool %q", d.at, reserved/gib, available/gib, pool)
		}
	}
	return nil
}

// noSpace refuses a volume that TrueNAS would refuse.
func noSpace(field string, bytes int64, pool truenas.Dataset) error {
	return refused(codes.ResourceExhausted, "%s: no space: a disk of %d GiB is more than %d %% of the %d GiB available on pool %q", field, bytes/gib, maxVolumePercent, pool.AvailableBytes/gib, pool.ID)
}
