package server

import (
	"context"
	"slices"

	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// TrueNAS boots a VM's disks by order. When two replicas create the same NIC concurrently, TrueNAS renumbers all other devices
// behind that NIC. A disk that is then created with its planned order precedes the root disk, and the VM would boot from it. New
// devices therefore get an order behind renumbered ones, and a later step corrects the order of disks that this process created
// before it saw the renumbering.

// place returns the order of a new device: the wanted order, or one behind all devices after TrueNAS has renumbered them.
func (b *builder) place(wanted int) int {
	last, moved := 0, false
	for _, d := range b.vm.Devices {
		last = max(last, d.Order)
		moved = moved || d.Order == wanted
	}
	if i := slices.IndexFunc(b.vm.Devices, vmrecord.IsDisk(b.root())); i >= 0 && wanted > hardware.OrderRoot {
		moved = moved || b.vm.Devices[i].Order > wanted
	}
	if !moved {
		return wanted
	}
	return last + 1 + wanted - hardware.OrderRoot
}

// root returns the volume of the disk that the VM boots from.
func (b *builder) root() string {
	return slices.Concat(b.plan.volumes(), vmrecord.Disks(b.vm), []string{""})[0]
}

// volumes returns the volumes of the planned disks, the root disk first.
func (p *plan) volumes() []string {
	list := make([]string, len(p.disks))
	for i, d := range p.disks {
		list[i] = d.volume
	}
	return list
}

// putInOrder puts the disks of a stopped VM in the wanted order, before all its other devices.
func putInOrder(ctx context.Context, nas *truenas.Client, vm truenas.VM, wanted ...string) (truenas.VM, error) {
	if vmrecord.Active(vm) || vmrecord.InOrder(vm, wanted) {
		return vm, nil
	}
	vm.Devices = slices.Clone(vm.Devices)
	order := slices.MinFunc(vm.Devices, func(a, b truenas.Device) int { return a.Order - b.Order }).Order
	for _, volume := range slices.Backward(wanted) { // The root disk last: until then the VM boots as before.
		i := slices.IndexFunc(vm.Devices, vmrecord.IsDisk(volume))
		if i < 0 {
			continue
		}
		order--
		if _, err := nas.Devices.Update(ctx, vm.Devices[i].ID, truenas.DeviceUpdate{Order: &order}); err != nil {
			return vm, err
		}
		vm.Devices[i].Order = order
	}
	return vm, nil
}
