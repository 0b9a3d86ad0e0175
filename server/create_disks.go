package server

import (
	"fmt"
	"path"

	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/server/refusal"
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
	if want.class.hardware.CDROM != "" {
		p.cdroms = append(p.cdroms, want.class.hardware.CDROM)
	}
	for i, d := range want.disks {
		p.disks = append(p.disks, p.seenDisk(plannedDisk{at: fmt.Sprintf("disks_json[%d].SizeGiB", i), order: orderDisk + i, volume: p.dataset + "/" + d.volume, bytes: d.sizeGiB * gib, thick: d.thick}, seen))
	}
	return nil
}

func (p *plan) planRoot(want spec, seen *observation) (plannedDisk, error) {
	d := plannedDisk{at: "class_json.DiskDefaults.SizeGiB", order: orderRoot, volume: p.dataset + "/" + rootDisk, bytes: want.class.rootGiB * gib, thick: want.class.thick}
	switch want.image.kind {
	case imageInstaller:
		return p.planInstallerFile(p.seenDisk(d, seen), want.image.file)
	case imageAttach:
		return p.planAttached(d, want, seen)
	case imageClone:
		if media := seen.datasets[want.image.volume]; isMedia(media) {
			return p.planInstaller(d, want.image, media, seen)
		}
		if d = p.seenDisk(d, seen); !d.exists {
			return p.planClone(d, want.image, seen)
		}
	}
	return p.seenDisk(d, seen), nil
}

// seenDisk notes that an earlier attempt made the volume already.
func (p *plan) seenDisk(d plannedDisk, seen *observation) plannedDisk {
	if was, ok := seen.datasets[d.volume]; ok {
		d.exists, d.has, d.reserved, d.used = true, was.VolsizeBytes, was.RefReservationBytes, was.UsedBytes
	}
	return d
}

// grows reports whether an existing volume, or the clone that is about to be made, is too small.
func (d plannedDisk) grows() bool { return d.has > 0 && d.bytes > d.has }

// reserves reports whether space has to be reserved for a volume that TrueNAS does not make as a thick
// one by itself: a clone, or one that exists.
func (d plannedDisk) reserves() bool {
	return d.thick && d.has > 0 && d.reserved < max(d.bytes, d.has)
}

func (p *plan) planClone(d plannedDisk, image imageRef, seen *observation) (plannedDisk, error) {
	const field = "image_json.Path"
	volume, ok := seen.datasets[image.volume]
	switch {
	case seen.snapshot == nil || !ok:
		return d, refusal.FailedPrecondition("%s: %s is not on the NAS; it was never prepared, or was deleted there", field, image.snap)
	case volume.Type != truenas.Volume:
		return d, refusal.FailedPrecondition("%s: %s is a snapshot of a dataset, not of a volume", field, image.snap)
	case image.prepared == nil && len(usersOf(seen.vms, image.volume, p.number())) > 0:
		user := usersOf(seen.vms, image.volume, p.number())[0]
		err := refusal.FailedPrecondition("%s: volume %s is a disk of VM %q; to make a VM of another one's disk, ask for a clone of that VM", field, image.volume, user)
		return d, withheld(err, field+": the volume is a disk of another VM; ask for a clone of that VM")
	case poolOf(image.volume) != poolOf(p.dataset):
		return d, refusal.FailedPrecondition("%s: %s is on pool %q and the VM on pool %q; a clone cannot leave its pool", field, image.snap, poolOf(image.volume), poolOf(p.dataset))
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
		return refusal.InvalidArgument(d.at, "%d GiB is smaller than the image, which has %d GiB; a disk never shrinks", d.bytes/gib, (bytes+gib-1)/gib)
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
		return d, refusal.FailedPrecondition("%s: volume %s is not on the NAS", field, d.volume)
	case volume.Type != truenas.Volume:
		return d, refusal.FailedPrecondition("%s: %s is a dataset, not a volume", field, d.volume)
	}
	if p.existing == nil || !p.attached(d) {
		if users := usersOf(seen.vms, d.volume, p.number()); len(users) > 0 {
			return d, attachedTo(d.volume, users[0])
		}
	}
	p.shared = d.volume
	d = p.seenDisk(d, seen)
	return d, d.atLeast(d.has)
}

// checkSpace compares what would be made with the pool's space. A thin clone of its image's size takes
// none. TrueNAS checks the size of a volume when it is made and when it grows, and counts what a
// growing one uses as available.
func (p *plan) checkSpace(seen *observation) error {
	pool := seen.datasets[poolOf(p.dataset)]
	var reserve int64
	for _, d := range p.disks {
		made := !d.exists && d.has == 0
		if (made || d.grows()) && d.bytes > (pool.AvailableBytes+d.used)/100*maxVolumePercent {
			return noSpace(d.at, d.bytes, pool)
		}
		if d.thick && (made || d.reserves()) {
			reserve += max(d.bytes, d.has) - d.reserved
		}
		if reserve > pool.AvailableBytes {
			return refusal.New(codes.ResourceExhausted, "%s: no space: thick disks of %d GiB do not fit the %d GiB available on pool %q", d.at, reserve/gib, pool.AvailableBytes/gib, pool.ID)
		}
	}
	return nil
}

// noSpace refuses a volume that TrueNAS would refuse.
func noSpace(field string, bytes int64, pool truenas.Dataset) error {
	return refusal.New(codes.ResourceExhausted, "%s: no space: a disk of %d GiB is more than %d %% of the %d GiB available on pool %q", field, bytes/gib, maxVolumePercent, pool.AvailableBytes/gib, pool.ID)
}
