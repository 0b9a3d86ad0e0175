package server

import (
	"context"
	"sync"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// dropDuplicateNICs removes NICs with the MAC address of an older one. TrueNAS does not refuse duplicates, so two replicas
// that work on one VM can make them; the later of the two sees both and keeps the first.
func dropDuplicateNICs(ctx context.Context, nas *truenas.Client, vm truenas.VM) (truenas.VM, error) {
	oldest := map[string]int64{}
	for _, d := range vm.Devices {
		if mac := vmrecord.MAC(d); mac != "" && (oldest[mac] == 0 || d.ID < oldest[mac]) {
			oldest[mac] = d.ID
		}
	}
	kept := vm.Devices[:0:0] // in boot order, as before
	for _, d := range vm.Devices {
		if mac := vmrecord.MAC(d); mac == "" || d.ID == oldest[mac] {
			kept = append(kept, d)
			continue
		}
		if err := destroy.Device(ctx, nas, d.ID); err != nil {
			return vm, err
		}
	}
	vm.Devices = kept
	return vm, nil
}

// doubts are the ids of VMs that this process found incomplete. A call of the process that began them may still be in flight
// on the NAS and add a NIC a second time. They are checked again before they start, because TrueNAS removes no device from a
// running VM.
type doubts struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (d *doubts) add(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids == nil {
		d.ids = map[string]bool{}
	}
	d.ids[id] = true
}

func (d *doubts) remove(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.ids, id)
}

func (d *doubts) about(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ids[id]
}

// single removes duplicate NICs of a VM before it starts, when it may have any, and puts its root disk first in the boot order.
func (s *Server) single(ctx context.Context, vm truenas.VM) (truenas.VM, error) {
	if !s.marks.Ours(vm) || !vmrecord.HasDuplicateNICs(vm) && !s.doubts.about(vm.UUID) && vmrecord.InOrder(vm, []string{s.layout.RootVolume(vmrecord.Disks(vm))}) {
		return vm, nil
	}
	vm, err := s.inventory.Refresh(ctx, vm.UUID)
	if err != nil || vmrecord.Active(vm) {
		return vm, err
	}
	if vm, err = dropDuplicateNICs(ctx, s.nas, vm); err != nil {
		return vm, err
	}
	if vm, err = putInOrder(ctx, s.nas, vm, s.layout.RootVolume(vmrecord.Disks(vm))); err == nil {
		s.doubts.remove(vm.UUID)
	}
	return vm, err
}
