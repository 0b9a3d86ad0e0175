package server

import (
	"context"
	"slices"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/diskio"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// confineRoot applies confine to the source of a Create's root disk, unless the VM has its root disk already.
func (s *Server) confineRoot(want spec.VM, seen *observation, id string) error {
	home := s.layout.VMDataset(want.Pool, want.OnNAS())
	if seen.hasRoot(home) || slices.ContainsFunc(seen.vms, func(vm truenas.VM) bool {
		return vm.UUID == id && slices.Contains(vmrecord.Disks(vm), want.Image.Volume)
	}) {
		return nil
	}
	return s.confine("image_json.Path", want.Image, home)
}

// confine refuses a path that the operator does not allow as a source of a VM. Allowed are images that this provider has prepared
// or imported, objects in the VM's own dataset (home), and objects in the datasets of images.nas_paths. The disks and snapshots of
// other VMs of this provider are never allowed.
func (s *Server) confine(field string, ref spec.ImageRef, home string) error {
	if !ref.ByPath() {
		return nil
	}
	root := s.layout.Root(spec.PoolOf(ref.Volume))
	below := func(folder string) bool { return spec.InTree(ref.Volume, root+folder[:len(folder)-1]) }
	switch {
	case home != "" && spec.InTree(ref.Volume, home), below(spec.ImportsFolder) && !ref.NotImported, below(spec.ImagesFolder):
		return nil
	case below(spec.ImportsFolder):
		return refusal.InvalidArgument(field, "%s is not the disk that a migration imported for this VM", ref.String())
	case below(spec.VMsFolder):
		return refusal.InvalidArgument(field, "%s is a disk or a snapshot of another VM of this provider; clone that VM instead", ref.String())
	case spec.InTree(ref.Volume, root):
		return refusal.InvalidArgument(field, "%s is not an image: the provider uses it for work in progress", ref.String())
	case slices.ContainsFunc(s.cfg.NASPaths, func(allowed string) bool { return spec.InTree(ref.Volume, allowed) }):
		return nil
	}
	return refusal.InvalidArgument(field, "%s lies outside of the setting images.nas_paths, which has %q; add its dataset there", ref.String(), s.cfg.NASPaths)
}

// checkImported refuses to attach a disk whose import is not complete: ImportDisk writes it, or is repeated and makes it again. The
// path is known before the import is complete when an earlier import of that name has returned it.
func (s *Server) checkImported(p *plan, seen *observation) error {
	if p.imported == "" || p.attached(p.disks[0]) || seen.datasets[p.disks[0].volume].LocalUserProperties[diskio.PropFile] == "" {
		return nil
	}
	return refusal.FailedPrecondition("image_json.Path: the import of %s is not complete; repeat its ImportDisk", p.disks[0].volume)
}

func attachedTo(volume, user string) error {
	return refusal.Withheld(refusal.FailedPrecondition("image_json.Path: volume %s is a disk of VM %q already", volume, user), "image_json.Path: the volume is a disk of another VM already")
}

// number returns the VM's number on the NAS, or one that no VM has.
func (p *plan) number() int64 {
	if p.existing == nil {
		return -1
	}
	return p.existing.ID
}

// resolveConflict decides which of two concurrent Creates keeps a volume that both have attached: the one whose device is older. Each
// Create checks after it has attached the volume, so at least the later one sees both devices.
func (s *Server) resolveConflict(ctx context.Context, p *plan, vm truenas.VM) error {
	if p.shared == "" {
		return nil
	}
	vms, err := s.nas.VMs.List(ctx, truenas.AnyOf(vmrecord.UsesOf(p.shared)...))
	if err != nil {
		return err
	}
	own, rival, user := deviceOf(vm, p.shared), int64(0), ""
	for _, other := range vms {
		if number := deviceOf(other, p.shared); other.ID != vm.ID && number != 0 && (rival == 0 || number < rival) {
			rival, user = number, other.Name
		}
	}
	if rival == 0 || own == 0 || own < rival {
		return nil
	}
	if !vmrecord.Active(vm) {
		if err := destroy.Device(ctx, s.nas, own); err != nil {
			return err
		}
		s.inventory.Invalidate(vm.UUID)
	}
	return attachedTo(p.shared, user)
}

// deviceOf returns the number of a VM's device for a volume, or 0.
func deviceOf(vm truenas.VM, volume string) int64 {
	if i := slices.IndexFunc(vm.Devices, vmrecord.IsDisk(volume)); i >= 0 {
		return vm.Devices[i].ID
	}
	return 0
}

// checkFile refuses a file on the NAS that a VM may not use, unless the VM has its root disk already.
func (s *Server) checkFile(ctx context.Context, want spec.VM, seen *observation) error {
	const field = "image_json.Path"
	if seen.hasRoot(s.layout.VMDataset(want.Pool, want.OnNAS())) {
		return nil
	}
	if want.Class.Hardware.CDROM != "" {
		if _, err := s.images.MayRead(ctx, spec.HardwareField("cdrom"), want.Class.Hardware.CDROM); err != nil {
			return err
		}
	}
	if file, ok := spec.NASFile(want.Image.Job.Source); ok {
		return s.images.ConfineFile(field, file)
	}
	if want.Image.Kind == spec.ImageInstaller {
		_, err := s.images.MayRead(ctx, field, want.Image.File)
		return err
	}
	return nil
}
