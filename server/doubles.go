package server

import (
	"cmp"
	"slices"

	"virtrigaud-provider-truenas/truenas"
)

// doubles tells the record of a VM from those that must go. TrueNAS does not keep two replicas from
// creating one VM at the same time: the slower one's vm.create fails, since the hypervisor knows the
// UUID, and its record stays, without devices. The record that has devices is the VM; of records
// without any it is the oldest.
func (s *Server) doubles(records []truenas.VM) (kept truenas.VM, doubles []truenas.VM, err error) {
	records = slices.Clone(records)
	slices.SortFunc(records, func(a, b truenas.VM) int {
		return cmp.Or(cmp.Compare(min(len(b.Devices), 1), min(len(a.Devices), 1)), cmp.Compare(a.ID, b.ID))
	})
	kept, doubles = records[0], records[1:]
	for _, vm := range doubles {
		if len(vm.Devices) > 0 || active(vm) || !s.ours(vm) {
			return kept, nil, conflict("the NAS has two VMs with the UUID %s, numbers %d and %d; remove the wrong one there", vm.UUID, kept.ID, vm.ID)
		}
	}
	return kept, doubles, nil
}
