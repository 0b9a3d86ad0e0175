package server

import (
	"context"
	"strings"

	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// An installer ISO is never written onto a disk. It lies as a file in a dataset of its own, where the volume of another
// image would be, and is sealed by the same snapshot. Any number of VMs have it in a CD-ROM drive.

// planInstaller plans an empty root disk and the CD-ROM drive with the installer. The disk comes first in the boot order: the
// firmware passes over it while it is empty, and the installed system boots without the CD-ROM being taken out.
func (p *plan) planInstaller(d plannedDisk, image spec.ImageRef, media truenas.Dataset, seen *observation) (plannedDisk, error) {
	if d = p.seenDisk(d, seen); !d.exists && seen.snapshot == nil {
		return d, absentImage(image.Snapshot)
	}
	if prepared, ok := seen.datasets[strings.TrimSuffix(image.Volume, "/disk")]; ok && image.Prepared != nil {
		p.image = &prepared
	}
	return p.planInstallerFile(d, landing.MediaPath(media))
}

// planInstallerFile plans the drive for a file that is on the NAS, and the empty disk.
func (p *plan) planInstallerFile(d plannedDisk, file string) (plannedDisk, error) {
	if d.bytes == 0 && !d.exists {
		return d, refusal.InvalidArgument(d.at, "must be given: the image is an installer ISO, and the VM gets an empty disk to install to")
	}
	p.cdroms, p.installs = append(p.cdroms, file), true
	return d, nil
}

// installerNote is part of the answer to a Create from an installer ISO.
const installerNote = "the image is an installer ISO: the root disk is empty, and the VM boots from a CD-ROM drive until something is installed"

// missingCDROMs are the drives that the VM lacks. A running one may have had its CD-ROM taken out.
func (p *plan) missingCDROMs() []string {
	if p.existing != nil && vmrecord.Active(*p.existing) {
		return nil
	}
	var paths []string
	for _, path := range p.cdroms {
		if _, ok := p.cdrom(path); !ok {
			paths = append(paths, path)
		}
	}
	return paths
}

func (p *plan) cdrom(path string) (truenas.Device, bool) {
	return p.device(func(have truenas.Device) bool {
		return have.Attributes.DType == truenas.DeviceCDROM && have.Attributes.Path == path
	})
}

// ensureCDROM adds a CD-ROM drive. All that it holds is on the NAS before a plan names it.
func (b *builder) ensureCDROM(ctx context.Context, n int, path string) error {
	if _, ok := b.plan.cdrom(path); ok {
		return nil
	}
	return b.add(ctx, orderCDROM+n, truenas.CDROM(path))
}
