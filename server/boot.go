package server

import (
	"context"
	"path"
	"regexp"
	"slices"

	"virtrigaud-provider-truenas/truenas"
)

// TrueNAS boots a VM's disks by order. When two replicas make one NIC at the same time, it numbers
// all other devices anew, behind that NIC. A disk that is made then, at the place that was free
// before, stands before the root disk, and the VM would boot from it. So new devices go behind those
// that were numbered anew, and the root disk is put first again where that came too late.

// place is the order of a new device: the wanted one, or one behind all devices when they have been
// numbered anew.
func (b *builder) place(wanted int) int {
	last, moved := 0, false
	for _, d := range b.vm.Devices {
		last = max(last, d.Order)
		moved = moved || d.Order == wanted
	}
	if i := slices.IndexFunc(b.vm.Devices, isDisk(b.root())); i >= 0 && wanted > orderRoot {
		moved = moved || b.vm.Devices[i].Order > wanted
	}
	if !moved {
		return wanted
	}
	return last + 1 + wanted - orderRoot
}

// root is the volume of the disk that the VM boots from.
func (b *builder) root() string {
	if len(b.plan.disks) > 0 {
		return b.plan.disks[0].volume
	}
	return slices.Concat(disksOf(b.vm), []string{""})[0]
}

func isDisk(volume string) func(truenas.Device) bool {
	return func(d truenas.Device) bool {
		return d.Attributes.DType == truenas.DeviceDisk && d.Attributes.Path == zvolPath(volume)
	}
}

// bootsFromAnother says whether another disk stands before the root disk.
func bootsFromAnother(vm truenas.VM, root string) bool {
	disks := disksOf(vm)
	return slices.Index(disks, root) > 0
}

// bootFirst puts the root disk of a VM that is off before all its devices.
func bootFirst(ctx context.Context, nas *truenas.Client, vm truenas.VM, root string) (truenas.VM, error) {
	if active(vm) || !bootsFromAnother(vm, root) {
		return vm, nil
	}
	vm.Devices = slices.Clone(vm.Devices)
	first := slices.MinFunc(vm.Devices, func(a, b truenas.Device) int { return a.Order - b.Order }).Order - 1
	i := slices.IndexFunc(vm.Devices, isDisk(root))
	_, err := nas.Devices.Update(ctx, vm.Devices[i].ID, truenas.DeviceUpdate{Order: &first})
	vm.Devices[i].Order = first
	return vm, err
}

// rootOf is the volume that a VM is to boot from, whatever the order says: the first one that is not
// an additional disk of ours.
func (l layout) rootOf(vm truenas.VM) string {
	volumes := disksOf(vm)
	for _, volume := range volumes {
		if ours, _ := regexp.MatchString(l.machinesPattern(), path.Dir(volume)); !ours || path.Base(volume) == rootDisk {
			return volume
		}
	}
	return slices.Concat(volumes, []string{""})[0]
}
