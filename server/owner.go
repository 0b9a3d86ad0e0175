package server

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"virtrigaud-provider-truenas/server/inventory"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// canonicalID is the form in which ids are compared; a malformed one names no VM.
func canonicalID(id string) (string, error) {
	parsed, err := uuid.Parse(id)
	if err != nil || len(id) != 36 {
		return "", inventory.Absent(id)
	}
	return parsed.String(), nil
}

// machine answers the VM of this id, or an error that is [truenas.ErrNotFound].
func (s *Server) machine(ctx context.Context, id string) (truenas.VM, error) {
	id, err := canonicalID(id)
	if err != nil {
		return truenas.VM{}, err
	}
	return s.inventory.Get(ctx, id)
}

// current is machine with devices that are certainly the VM's: TrueNAS tells of no change of them,
// so a copy may lack those that another replica has just made.
func (s *Server) current(ctx context.Context, id string) (truenas.VM, error) {
	id, err := canonicalID(id)
	if err != nil {
		return truenas.VM{}, err
	}
	return s.inventory.Read(ctx, id)
}

// ours says whether this provider made the VM.
func (s *Server) ours(vm truenas.VM) bool {
	_, ok := s.mark(vm)
	return ok
}

// mayDestroy refuses what cannot be taken back on a VM that this provider did not make.
func (s *Server) mayDestroy(vm truenas.VM) error {
	if s.ours(vm) {
		return nil
	}
	m, ok := proven(vm)
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
		"or annotate the VirtualMachine with virtrigaud.io/force-delete to let go of the VM without touching it", vm.Name, Protect, Manage)
}

// displayName is the VM's name for messages: as its owner knows it where the VM's record proves that, else as on the NAS.
func displayName(vm truenas.VM) string {
	if m, ok := proven(vm); ok && m.Name != "" {
		return m.Name
	}
	return vm.Name
}

// nameOf is displayName for answers. It also knows the name of a VM of ours whose description was edited.
func (s *Server) nameOf(vm truenas.VM) string {
	if m, ok := s.mark(vm); ok {
		return m.Name
	}
	return displayName(vm)
}

// onNAS is the name of a VM's dataset: that of the VM, unless a person renamed it.
func (s *Server) onNAS(vm truenas.VM) string {
	if m, ok := s.mark(vm); ok {
		return m.OnNAS()
	}
	return vm.Name
}

// active says whether a VM holds its devices: it runs or is suspended.
func active(vm truenas.VM) bool {
	return vm.Status.State == truenas.StateRunning || vm.Status.State == truenas.StateSuspended
}

// usesOf are the filters for the VMs that use a dataset or something in it. TrueNAS takes a space in the path of a volume for a plus
// sign, so that both may stand there.
func usesOf(dataset string) []truenas.Filter {
	var filters []truenas.Filter
	for _, place := range slices.Compact([]string{spec.ZvolPath(dataset), spec.DevZvol + dataset, "/mnt/" + dataset}) {
		filters = append(filters, truenas.Where(pathsOfVM, place), truenas.Cond(pathsOfVM, "^", place+"/"))
	}
	return filters
}

// pathsOfVM are the paths of all devices of a VM, for filters.
const pathsOfVM = "devices.*.attributes.path"

// usersOf lists the names of other VMs that use a dataset or something in it.
func usersOf(vms []truenas.VM, dataset string, except int64) []string {
	var users []string
	for _, vm := range vms {
		if vm.ID == except {
			continue
		}
		for _, d := range vm.Devices {
			volume := spec.VolumeOf(d.Attributes.Path)
			if volume == "" {
				volume = strings.TrimPrefix(d.Attributes.Path, "/mnt/")
			}
			if volume != "" && spec.InTree(volume, dataset) {
				users = append(users, vm.Name)
				break
			}
		}
	}
	return users
}

// proven reads a VM's mark out of its description when the VM's UUID agrees with it. TrueNAS's own clone copies the
// description and gives the copy another UUID.
func proven(vm truenas.VM) (spec.Mark, bool) {
	m, ok := spec.ParseMark(vm.Description)
	return m, ok && m.ID() == strings.ToLower(vm.UUID)
}
