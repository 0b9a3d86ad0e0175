package server

import (
	"context"

	"github.com/google/uuid"

	"virtrigaud-provider-truenas/server/inventory"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// canonicalID returns the form of an id for comparison; a malformed id names no VM.
func canonicalID(id string) (string, error) {
	parsed, err := uuid.Parse(id)
	if err != nil || len(id) != 36 {
		return "", inventory.Absent(id)
	}
	return parsed.String(), nil
}

// machine returns the VM of this id, or an error that is [truenas.ErrNotFound].
func (s *Server) machine(ctx context.Context, id string) (truenas.VM, error) {
	id, err := canonicalID(id)
	if err != nil {
		return truenas.VM{}, err
	}
	return s.inventory.Get(ctx, id)
}

// current returns the VM of this id with devices read from the NAS. TrueNAS sends no events for devices, so the inventory may lack
// devices that another replica has just made.
func (s *Server) current(ctx context.Context, id string) (truenas.VM, error) {
	id, err := canonicalID(id)
	if err != nil {
		return truenas.VM{}, err
	}
	return s.inventory.Read(ctx, id)
}

// mayDestroy refuses an irreversible operation on a VM that this provider did not make.
func (s *Server) mayDestroy(vm truenas.VM) error {
	if s.marks.Ours(vm) {
		return nil
	}
	m, ok := vmrecord.Mark(vm)
	switch {
	case ok && m.Provider != s.cfg.ID:
		return refusal.FailedPrecondition("VM %q belongs to the provider %q, not to %q", vm.Name, m.Provider, s.cfg.ID)
	case ok:
		return refusal.FailedPrecondition("VM %q was made by a provider with the id %q that keeps its VMs in another dataset than %s; give the two providers "+
			"different ids, or set storage.dataset to the dataset of the VM", vm.Name, m.Provider, s.cfg.Dataset)
	case s.cfg.AdoptedVMs == Manage:
		return nil
	}
	return refusal.FailedPrecondition("VM %q was not made by this provider, and adopted_vms is %s: set it to %s to let the provider delete such VMs, "+
		"or annotate the VirtualMachine with virtrigaud.io/force-delete to release the VM without changing it", vm.Name, Protect, Manage)
}
