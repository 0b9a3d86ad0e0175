package server

import (
	"context"
	"fmt"
	"path"

	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// planDisks plans the root disk and the additional ones.
func (p *plan) planDisks(want spec.VM, seen *observation) error {
	root, err := p.planRoot(want, seen)
	if err != nil {
		return err
	}
	p.disks = append(p.disks, root)
	if want.Class.Hardware.CDROM != "" {
		p.cdroms = append(p.cdroms, want.Class.Hardware.CDROM)
	}
	for i, d := range want.Disks {
		p.disks = append(p.disks, p.seenDisk(plannedDisk{at: fmt.Sprintf("disks_json[%d].SizeGiB", i), order: hardware.OrderDisk + i, volume: p.homeOn(d.Pool) + "/" + d.Volume, bytes: d.SizeGiB * spec.GiB, thick: d.Thick}, seen))
	}
	return nil
}

func (p *plan) planRoot(want spec.VM, seen *observation) (plannedDisk, error) {
	d := plannedDisk{at: "class_json.DiskDefaults.SizeGiB", order: hardware.OrderRoot, volume: p.dataset + "/" + spec.RootDisk, bytes: want.Class.RootGiB * spec.GiB, thick: want.Class.Thick}
	switch want.Image.Kind {
	case spec.ImageInstaller:
		return p.planInstallerFile(p.seenDisk(d, seen), want.Image.File)
	case spec.ImageAttach:
		return p.planAttached(d, want, seen)
	case spec.ImageClone:
		if media := seen.datasets[want.Image.Volume]; landing.IsMedia(media) {
			return p.planInstaller(d, want.Image, media, seen)
		}
		if d = p.seenDisk(d, seen); !d.exists {
			return p.planClone(d, want.Image, seen)
		}
	}
	return p.seenDisk(d, seen), nil
}

// seenDisk marks a disk whose volume an earlier attempt has made.
func (p *plan) seenDisk(d plannedDisk, seen *observation) plannedDisk {
	if was, ok := seen.datasets[d.volume]; ok {
		d.exists, d.has, d.reserved, d.used = true, was.VolsizeBytes, was.RefReservationBytes, was.UsedBytes
	}
	return d
}

// grows reports whether an existing volume, or the clone to be made, is too small.
func (d plannedDisk) grows() bool { return d.has > 0 && d.bytes > d.has }

// reserves reports whether a thick disk needs its space reserved after its creation: TrueNAS makes clones thin, and an existing
// volume may be thin.
func (d plannedDisk) reserves() bool {
	return d.thick && d.has > 0 && d.reserved < max(d.bytes, d.has)
}

func (p *plan) planClone(d plannedDisk, image spec.ImageRef, seen *observation) (plannedDisk, error) {
	const field = "image_json.Path"
	volume, ok := seen.datasets[image.Volume]
	switch {
	case seen.snapshot == nil || !ok:
		return d, refusal.FailedPrecondition("%s: %s is not on the NAS; it was not prepared, or was deleted", field, image.Snapshot)
	case volume.Type != truenas.Volume:
		return d, refusal.FailedPrecondition("%s: %s is a snapshot of a dataset, not of a volume", field, image.Snapshot)
	case image.Prepared == nil && len(vmrecord.UsersOf(seen.vms, image.Volume, p.number())) > 0:
		user := vmrecord.UsersOf(seen.vms, image.Volume, p.number())[0]
		err := refusal.FailedPrecondition("%s: volume %s is a disk of VM %q; to use its disk, clone that VM", field, image.Volume, user)
		return d, refusal.Withheld(err, field+": the volume is a disk of another VM; to use it, clone that VM")
	case spec.PoolOf(image.Volume) != spec.PoolOf(p.dataset):
		return d, refusal.FailedPrecondition("%s: %s is on pool %q and the VM on pool %q; a clone cannot leave its pool", field, image.Snapshot, spec.PoolOf(image.Volume), spec.PoolOf(p.dataset))
	}
	if prepared, ok := seen.datasets[path.Dir(image.Volume)]; ok && image.Prepared != nil {
		p.image = &prepared
	}
	d.clone, d.has = image.Snapshot, seen.snapshot.VolsizeBytes
	return d, d.atLeast(d.has)
}

// atLeast sets an omitted size to that of the source, and refuses a smaller one.
func (d *plannedDisk) atLeast(bytes int64) error {
	if d.bytes == 0 {
		d.bytes = bytes
	}
	if d.bytes < bytes {
		return refusal.InvalidArgument(d.at, "%d GiB is smaller than the image, which has %d GiB; a disk never shrinks", d.bytes/spec.GiB, (bytes+spec.GiB-1)/spec.GiB)
	}
	return nil
}

// planAttached uses the volume that the path names, without a copy. An import made it.
func (p *plan) planAttached(d plannedDisk, want spec.VM, seen *observation) (plannedDisk, error) {
	const field = "image_json.Path"
	d.volume = want.Image.Volume
	volume, ok := seen.datasets[d.volume]
	switch {
	case !ok:
		return d, refusal.FailedPrecondition("%s: volume %s is not on the NAS", field, d.volume)
	case volume.Type != truenas.Volume:
		return d, refusal.FailedPrecondition("%s: %s is a dataset, not a volume", field, d.volume)
	}
	if p.existing == nil || !p.attached(d) {
		if users := vmrecord.UsersOf(seen.vms, d.volume, p.number()); len(users) > 0 {
			return d, attachedTo(d.volume, users[0])
		}
	}
	p.shared = d.volume
	d = p.seenDisk(d, seen)
	return d, d.atLeast(d.has)
}

// checkSpace compares the planned volumes with the free space of the pools. A thin clone of its image's size takes no space.
// TrueNAS checks the size of a volume at its creation and its growth, and counts the space that a growing volume uses as available.
func (p *plan) checkSpace(seen *observation) error {
	reserved := map[string]int64{} // by pool
	for _, d := range p.disks {
		pool := seen.datasets[spec.PoolOf(p.dataset)]
		if p.holds(d.volume) {
			pool = seen.datasets[spec.PoolOf(d.volume)]
		}
		made := !d.exists && d.has == 0
		if (made || d.grows()) && d.bytes > (pool.AvailableBytes+d.used)/100*landing.MaxVolumePercent {
			return landing.NoSpace(d.at, d.bytes, pool)
		}
		if d.thick && (made || d.reserves()) {
			reserved[pool.ID] += max(d.bytes, d.has) - d.reserved
		}
		if reserve := reserved[pool.ID]; reserve > pool.AvailableBytes {
			return refusal.New(codes.ResourceExhausted, "%s: no space: thick disks of %d GiB do not fit the %d GiB available on pool %q", d.at, reserve/spec.GiB, pool.AvailableBytes/spec.GiB, pool.ID)
		}
	}
	return nil
}

// fieldEncryption is the field that requests disks that are encrypted at rest.
const fieldEncryption = "class_json.SecurityProfile.EncryptionEnabled"

// checkEncryption refuses a class that requests encryption when a disk of the VM would not be encrypted. TrueNAS encrypts
// everything below an encrypted dataset, and keeps the key itself; a clone has the encryption of its origin.
func (p *plan) checkEncryption(want spec.VM, seen *observation, l spec.Layout) error {
	if !p.class.Encrypted {
		return nil
	}
	if place := p.place(want, seen, l); !place.Encrypted {
		return unencryptedPlace(place.ID, l.Root(want.Pool))
	}
	sources := []string{want.Image.Volume}
	for _, d := range p.disks {
		sources = append(sources, d.volume)
	}
	for _, volume := range sources {
		if d, ok := seen.datasets[volume]; ok && !d.Encrypted {
			return unencrypted(volume)
		}
	}
	return nil
}

func unencryptedPlace(place, root string) error {
	return refusal.FailedPrecondition("%s: dataset %s is not encrypted: create an encrypted dataset on the NAS and set the provider's dataset to one below it, or name a pool whose %s is encrypted", fieldEncryption, place, root)
}

func unencrypted(volume string) error {
	return refusal.FailedPrecondition("%s: %s is not encrypted, and a disk that is made from it cannot be: prepare or import it below an encrypted dataset", fieldEncryption, volume)
}

// place returns the nearest existing dataset at or above the VM's own. A new dataset below it inherits its encryption.
func (p *plan) place(want spec.VM, seen *observation, l spec.Layout) truenas.Dataset {
	root := l.Root(want.Pool)
	for _, id := range []string{p.dataset, root, spec.PoolOf(root)} {
		if d, ok := seen.datasets[id]; ok {
			return d
		}
	}
	return truenas.Dataset{ID: root}
}

// checkEncrypted refuses encryption for a VM with an unencrypted volume. It queries the NAS.
func (s *Server) checkEncrypted(ctx context.Context, c spec.Class, volumes []string) error {
	if !c.Encrypted || len(volumes) == 0 {
		return nil
	}
	list, err := s.nas.Datasets.List(ctx, truenas.Cond("id", "in", volumes))
	if err != nil {
		return err
	}
	for _, d := range list {
		if !d.Encrypted {
			return unencrypted(d.ID)
		}
	}
	return nil
}
