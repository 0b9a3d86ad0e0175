package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/refusal"
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

// idSet is a set of ids of VMs.
type idSet struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (s *idSet) add(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = map[string]bool{}
	}
	s.ids[id] = true
}

func (s *idSet) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ids, id)
}

func (s *idSet) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[id]
}

// single removes duplicate NICs of a VM before its start, when it may have any, and puts its root disk first in the boot order.
// A call of the process that began an incomplete VM may still be in flight on the NAS and add a NIC a second time, and TrueNAS removes no
// device from a running VM.
func (s *Server) single(ctx context.Context, vm truenas.VM) (truenas.VM, error) {
	if !s.marks.Ours(vm) || !vmrecord.HasDuplicateNICs(vm) && !s.incomplete.has(vm.UUID) && vmrecord.InOrder(vm, []string{s.layout.RootVolume(vmrecord.Disks(vm))}) {
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
		s.incomplete.remove(vm.UUID)
	}
	return vm, err
}

// TrueNAS checks that the name of a VM is free some time before it makes the record, so two replicas
// that create one VM at the same time leave two records of one UUID. Up to 25.10 the hypervisor then
// refuses the UUID of the slower one, whose vm.create fails and whose record stays; from 26 on both
// succeed.

// duplicateRecordsOf separates the record of a VM from its duplicates. The VM is the record with devices, and the oldest of
// several. A duplicate with disks that the VM does not have is refused, because its data may be needed.
func duplicateRecordsOf(records []truenas.VM) (kept truenas.VM, duplicates []truenas.VM, err error) {
	records = slices.Clone(records)
	slices.SortFunc(records, func(a, b truenas.VM) int {
		return cmp.Or(cmp.Compare(min(len(b.Devices), 1), min(len(a.Devices), 1)), cmp.Compare(a.ID, b.ID))
	})
	kept, duplicates = records[0], records[1:]
	disks := vmrecord.Disks(kept)
	for _, vm := range duplicates {
		for _, disk := range vmrecord.Disks(vm) {
			if !slices.Contains(disks, disk) {
				return kept, nil, refusal.FailedPrecondition("the NAS has two VMs with the UUID %s, numbers %d and %d, and only %d has the disk %s; remove the wrong VM on the NAS", vm.UUID, kept.ID, vm.ID, vm.ID, disk)
			}
		}
	}
	return kept, duplicates, nil
}

// dropDuplicateRecords removes the records. The VM has to be off: the records share a domain of the hypervisor, and the removal of
// either record removes the domain. Up to 25.10 the VM then has the state ERROR until its next start.
func dropDuplicateRecords(ctx context.Context, nas *truenas.Client, duplicates []truenas.VM) error {
	for _, vm := range duplicates {
		if err := destroy.VM(ctx, nas, vm.ID); err != nil {
			return fmt.Errorf("removing the second record of VM %q, number %d: %w", vm.Name, vm.ID, err)
		}
	}
	return nil
}

// refusedRecord removes the record that remains of a vm.create which the hypervisor refused. The refusal names the VM that has the
// UUID.
func (b *builder) refusedRecord(ctx context.Context, refusal error) error {
	number, ok := truenas.DefinedAs(refusal)
	if !ok {
		return nil
	}
	records, err := b.nas.VMs.List(ctx, truenas.Where("uuid", b.plan.id))
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(slices.Clone(records), func(vm truenas.VM) bool { return vm.ID == number })
	if len(others) == len(records) {
		return nil // The VM is gone meanwhile.
	}
	empty := slices.DeleteFunc(others, func(vm truenas.VM) bool { return len(vm.Devices) > 0 || vmrecord.Active(vm) })
	return dropDuplicateRecords(ctx, b.nas, empty)
}

// made reads back the VM that this builder made or completed. When another replica made a record of it at the same time, the maker
// of the later record removes that record.
func (b *builder) made(ctx context.Context) (truenas.VM, error) {
	records, err := b.nas.VMs.List(ctx, truenas.Where("uuid", b.plan.id))
	if err != nil {
		return truenas.VM{}, err
	}
	i := slices.IndexFunc(records, func(vm truenas.VM) bool { return vm.ID == b.vm.ID })
	if i < 0 {
		return truenas.VM{}, fmt.Errorf("vm %d: %w", b.vm.ID, truenas.ErrNotFound)
	}
	vm := records[i]
	earlier := slices.ContainsFunc(records, func(other truenas.VM) bool { return other.ID < vm.ID })
	if !b.madeVM || !earlier || vmrecord.Active(vm) {
		return vm, nil
	}
	b.madeVM = false
	return vm, errors.Join(b.createdMeanwhile(truenas.ErrExists), dropDuplicateRecords(ctx, b.nas, []truenas.VM{vm}))
}
