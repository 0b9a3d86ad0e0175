package server

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
	"github.com/projectbeskar/virtrigaud/sdk/provider/capabilities"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/lease"
	"virtrigaud-provider-truenas/server/media"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// An installer ISO is never written onto a disk. It is a file in its own dataset, in place of the volume of another image, with the
// same snapshot @ready. Any number of VMs can have it in a CD-ROM drive.

// planInstaller plans an empty root disk and the CD-ROM drive with the installer. The disk comes first in the boot order: the
// firmware skips it while it is empty, and the installed system then boots although the CD-ROM is still in the drive.
func (p *plan) planInstaller(d plannedDisk, image spec.ImageRef, media truenas.Dataset, seen *observation) (plannedDisk, error) {
	if d = p.seenDisk(d, seen); !d.exists && seen.snapshot == nil {
		return d, absentImage(image.Snapshot)
	}
	if prepared, ok := seen.datasets[strings.TrimSuffix(image.Volume, "/disk")]; ok && image.Prepared != nil {
		p.image = &prepared
	}
	return p.planInstallerFile(d, landing.MediaPath(media))
}

// planInstallerFile plans the drive for a file on the NAS, and the empty disk.
func (p *plan) planInstallerFile(d plannedDisk, file string) (plannedDisk, error) {
	if d.bytes == 0 && !d.exists {
		return d, refusal.InvalidArgument(d.at, "must be given: the image is an installer ISO, and the VM gets an empty disk to install to")
	}
	p.cdroms, p.installs = append(p.cdroms, file), true
	return d, nil
}

// installerNote is the note in the response to a Create from an installer ISO.
const installerNote = "the image is an installer ISO: the root disk is empty, and the VM boots from a CD-ROM drive until something is installed"

// missingCDROMs returns the files of the drives that the VM lacks. It returns none for a running VM, from which a user may have
// removed the CD-ROM.
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

// ensureCDROM adds a CD-ROM drive. Its file exists on the NAS before a plan names it.
func (b *builder) ensureCDROM(ctx context.Context, n int, path string) error {
	if _, ok := b.plan.cdrom(path); ok {
		return nil
	}
	return b.add(ctx, hardware.OrderCDROM+n, truenas.CDROM(path))
}

// mediaChoice is the requested content of the drive of virtual media: a URL, a path, [settings.NoMedia], or no request.
type mediaChoice struct{ iso, checksum string }

// setMedia puts an ISO into the drive of virtual media, or empties it. While the ISO is in preparation, the reply is its task, and the
// Reconfigure that follows the task inserts it, as the Create that follows a task makes a VM.
func (s *Server) setMedia(ctx context.Context, vm truenas.VM, want mediaChoice) (*providerv1.TaskResponse, error) {
	if want.iso == "" {
		return &providerv1.TaskResponse{}, nil
	}
	var iso media.ISO
	if want.iso != settings.NoMedia {
		found, task, err := s.findISO(ctx, vm, want)
		if err != nil || task != nil {
			return &providerv1.TaskResponse{Task: task}, err
		}
		iso = found
	}
	changed, err := s.insert(ctx, vm, iso)
	if err != nil {
		return nil, err
	}
	return capabilities.HonestReconfigureResponse("", changed && vmrecord.Active(vm)), nil
}

// findISO returns the path of an ISO on the NAS, or the task that lands it there. Files and URLs are confined as those of images
// are. An ISO from a URL is an image of one namespace, like an image of Create: it stays until no VM uses it and PruneImages
// removes it.
func (s *Server) findISO(ctx context.Context, vm truenas.VM, want mediaChoice) (media.ISO, *providerv1.TaskRef, error) {
	field := spec.HardwareField("media")
	if spec.IsInstaller(want.iso) {
		return s.findISOFile(ctx, field, want)
	}
	if err := s.needUpload(field); err != nil {
		return media.ISO{}, nil, err
	}
	i, err := s.isoOf(vm, want)
	if err != nil {
		return media.ISO{}, nil, err
	}
	st, err := s.images.Observe(ctx, i)
	switch {
	case err != nil:
		return media.ISO{}, nil, err
	case st.Ready && (st.Volume == nil || !landing.IsMedia(*st.Volume)):
		return media.ISO{}, nil, refusal.FailedPrecondition("%s: the image of that URL is a disk, not an ISO", field)
	case st.Ready:
		err := cmp.Or(s.lander.DropStaging(ctx, st), s.noteUse(ctx, &plan{image: st.Dataset}))
		return media.ISO{Path: landing.MediaPath(*st.Volume), Source: i.Job.PublicSource()}, nil, err
	}
	started, err := s.images.Ensure(ctx, i)
	if err == nil && !started {
		// This process has just prepared the ISO, and it is gone from the NAS: prepare it again.
		s.images.Start(i)
	}
	return media.ISO{}, taskOf(i), err
}

func (s *Server) findISOFile(ctx context.Context, field string, want mediaChoice) (media.ISO, *providerv1.TaskRef, error) {
	switch {
	case want.checksum != "":
		return media.ISO{}, nil, refusal.InvalidArgument(spec.HardwareField("media_checksum"), "needs an ISO from a URL")
	case want.iso == s.cfg.NetworkBootISO:
		return media.ISO{}, nil, refusal.InvalidArgument(field, "%s is the image of network.boot_iso; boot the network instead", want.iso)
	}
	if err := s.permit(insertFiles); err != nil {
		return media.ISO{}, nil, err
	}
	_, err := s.images.MayRead(ctx, field, want.iso)
	return media.ISO{Path: want.iso}, nil, err
}

// isoOf returns the image of a URL for VMs of the VM's namespace.
func (s *Server) isoOf(vm truenas.VM, want mediaChoice) (spec.Image, error) {
	kind, sum, _ := strings.Cut(want.checksum, ":")
	job := spec.ImageJob{Timeout: spec.DefaultImageTimeout, Retries: spec.DefaultImageRetries}
	job.Source = disk.Source{URL: want.iso, Format: string(disk.ISO), Checksum: sum, ChecksumType: kind}
	key, err := spec.ImageKey(job.Source)
	if err != nil {
		return spec.Image{}, refusal.InvalidArgument(spec.HardwareField("media"), "%v", err)
	}
	m, _ := s.marks.Of(vm)
	if m.Namespace != "" {
		key = m.Namespace + "." + key
	}
	return spec.Image{Job: job, Key: key, Name: vmrecord.Name(vm) + " media", Root: s.layout.Root(spec.PoolOf(s.home(vm))), Namespace: m.Namespace}, nil
}

// mediaRecord returns the recorded contents of the drive of virtual media. A VM that this provider did not make has the zero
// record.
func (s *Server) mediaRecord(vm truenas.VM) media.Record {
	m, _ := s.marks.Of(vm)
	return media.Parse(m.Media)
}

// insert puts an ISO into the drive of virtual media; the zero ISO empties it. TrueNAS adds a device to a running VM for its next
// start, and deletes none, so an ejected drive is deleted right before that start. A request that the VM meets already looks for
// the lock of a replica that died during a change, as setBootSource does.
func (s *Server) insert(ctx context.Context, vm truenas.VM, iso media.ISO) (changed bool, err error) {
	if s.mediaIs(vm, iso) {
		if locked, err := s.leases.Locked(ctx, s.home(vm)); err != nil || !locked {
			return false, err
		}
	}
	release, err := s.lockBoot(ctx, vm)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if vm, err = s.inventory.Read(ctx, vm.UUID); err != nil {
		return false, err
	}
	if vm, err = s.resolveBoot(ctx, vm); err != nil || s.mediaIs(vm, iso) {
		return false, err
	}
	if hasDrive(vm, iso.Path) && !s.mediaRecord(vm).Holds(iso.Path) {
		return false, refusal.FailedPrecondition("VM %q has %s in another drive already", vmrecord.Name(vm), iso.Path)
	}
	if vm, err = s.swapMedia(ctx, vm, iso); err != nil {
		return true, err
	}
	_, err = s.arrange(ctx, vm, s.bootRecord(vm).Rest())
	return true, err
}

// mediaIs reports whether the drive holds the ISO already. A running VM loses an ejected drive at its next start.
func (s *Server) mediaIs(vm truenas.VM, iso media.ISO) bool {
	record := s.mediaRecord(vm)
	left := slices.ContainsFunc(record.Ejected, func(file string) bool { return !vmrecord.Active(vm) || !hasDrive(vm, file) })
	return record.ISO == iso && (iso.Path == "" || hasDrive(vm, iso.Path)) && !left
}

// swapMedia deletes drives first, then changes the record, then adds the drive, so that the record always names every drive.
func (s *Server) swapMedia(ctx context.Context, vm truenas.VM, iso media.ISO) (truenas.VM, error) {
	record := s.mediaRecord(vm)
	vm, err := s.dropDrives(ctx, vm, record.Others(iso.Path))
	if err != nil {
		return vm, err
	}
	if vm, err = s.noteMedia(ctx, vm, record.Put(iso, vmrecord.CDROMs(vm))); err != nil {
		return vm, err
	}
	if iso.Path == "" || hasDrive(vm, iso.Path) {
		return vm, nil
	}
	last := hardware.OrderCDROM
	for _, d := range vm.Devices {
		last = max(last, d.Order+1)
	}
	if _, err := s.nas.Devices.Create(ctx, truenas.DeviceCreate{VM: vm.ID, Order: last, Attributes: truenas.CDROM(iso.Path)}); lease.IgnoreExists(err) != nil {
		return vm, err
	}
	if vm, err = s.inventory.Read(ctx, vm.UUID); err == nil && !hasDrive(vm, iso.Path) {
		err = refusal.Aborted("the CD-ROM drive of VM %q was removed by another client; retry", vmrecord.Name(vm))
	}
	return vm, err
}

// noteMedia writes a record if it differs from that of the VM.
func (s *Server) noteMedia(ctx context.Context, vm truenas.VM, next media.Record) (truenas.VM, error) {
	if next.String() == s.mediaRecord(vm).String() {
		return vm, nil
	}
	return s.noteMark(ctx, vm, func(m *spec.Mark) { m.Media = next.String() }, nil)
}

// dropDrives deletes the drives with these files from a stopped VM. TrueNAS deletes them from a running VM too while libvirt does not
// report its state, and the guest keeps them, so the VM must be off for certain.
func (s *Server) dropDrives(ctx context.Context, vm truenas.VM, files []string) (truenas.VM, error) {
	drop := func(d truenas.Device) bool { return drives(d) && slices.Contains(files, d.Attributes.Path) }
	if vmrecord.Active(vm) || !slices.ContainsFunc(vm.Devices, drop) {
		return vm, nil
	}
	if err := s.confirmOff(ctx, vm); err != nil {
		return vm, err
	}
	before := s.inventory.Mark()
	kept := slices.Clone(vm.Devices)
	for _, d := range vm.Devices {
		if !drop(d) {
			continue
		}
		if err := destroy.Device(ctx, s.nas, d.ID); err != nil {
			return vm, err
		}
		kept = slices.DeleteFunc(kept, func(k truenas.Device) bool { return k.ID == d.ID })
	}
	vm.Devices = kept
	s.inventory.Put(vm, before)
	return vm, nil
}

// dropEjected deletes, before the next start of a VM, the drives that were ejected while it ran.
func (s *Server) dropEjected(ctx context.Context, vm truenas.VM) (truenas.VM, error) {
	record := s.mediaRecord(vm)
	if len(record.Ejected) == 0 {
		return vm, nil
	}
	vm, err := s.dropDrives(ctx, vm, record.Ejected)
	if err != nil {
		return vm, err
	}
	return s.noteMedia(ctx, vm, record.Start())
}

// startsLocked reports whether a start needs the lock of the boot order, or has to remove the lock of a process that died.
func (s *Server) startsLocked(ctx context.Context, vm truenas.VM) (bool, error) {
	switch {
	case s.choosesBoot(vm):
		return true, nil
	case !s.mediaRecord(vm).Left:
		return false, nil
	}
	return s.leases.Locked(ctx, s.home(vm))
}

// hasDrive reports whether a VM has a file in a CD-ROM drive.
func hasDrive(vm truenas.VM, file string) bool {
	return file != "" && slices.Contains(vmrecord.CDROMs(vm), file)
}
