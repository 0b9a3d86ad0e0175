package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/bootorder"
	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/media"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// The power states of the contract. A manager of line 0.3 loses the status write for any but the first two.
const (
	stateOn        = "On"
	stateOff       = "Off"
	stateSuspended = "Suspended"
	stateUnknown   = "Unknown"
)

// Describe reads the inventory, so that the manager's polls make no calls to the NAS. It reports a VM as absent only after a
// new check on the NAS, because the manager then creates the VM again.
func (s *Server) Describe(ctx context.Context, req *providerv1.DescribeRequest) (*providerv1.DescribeResponse, error) {
	vm, err := s.machine(ctx, req.GetId())
	switch {
	case errors.Is(err, truenas.ErrNotFound):
		return s.describeWaiting(req.GetId())
	case err != nil:
		return nil, err
	}
	vm = s.confirmState(ctx, vm)
	power, err := s.powerState(vm)
	if err != nil {
		return nil, err
	}
	_ = s.marks.Identify(ctx, vm) // After a failure the VM is described as unmanaged; the next Describe retries.
	if err := s.checkState(ctx, vm); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(s.raw(vm))
	if err != nil {
		return nil, fmt.Errorf("describe vm %q: %w", vm.Name, err)
	}
	return &providerv1.DescribeResponse{
		Exists: true, PowerState: power, Ips: s.addresses.Of(vm, vmrecord.MACs(vm), true), ConsoleUrl: hardware.ConsoleURL(s.nas, vm), ProviderRawJson: string(raw),
		MaxMemoryMib: vm.MemoryMiB, Vcpus: int32(vmrecord.CPUs(vm)), //nolint:gosec // TrueNAS allows 255 CPUs.
	}, nil
}

// confirmState reports a VM in state ERROR as off when no guest has its disks open. Up to 25.10 the removal of a duplicate record
// leaves the VM in that state until its next start.
func (s *Server) confirmState(ctx context.Context, vm truenas.VM) truenas.VM {
	if vm.Status.State == truenas.StateError && len(vmrecord.Disks(vm)) > 0 && s.confirmOff(ctx, vm) == nil {
		vm.Status.State = truenas.StateStopped
	}
	return vm
}

// describeWaiting returns the response for an id without a VM on the NAS: absent, unless Create has returned the id and its image
// is still in preparation.
func (s *Server) describeWaiting(id string) (*providerv1.DescribeResponse, error) {
	dataset, waits := s.waiting.image(id)
	progress, running := s.images.Progress(dataset)
	if !waits || !running {
		return &providerv1.DescribeResponse{}, nil
	}
	raw, err := json.Marshal(map[string]string{"state": "WAITING_FOR_IMAGE", "image": dataset, "image_progress": progress.String()})
	return &providerv1.DescribeResponse{Exists: true, PowerState: stateOff, ProviderRawJson: string(raw)}, err
}

// powerState returns the VM's state in the terms of the manager's line.
func (s *Server) powerState(vm truenas.VM) (string, error) {
	power, err := powerState(vm)
	switch {
	case !s.newerManager.Load():
		return power, err
	case err != nil:
		return stateUnknown, nil
	case vm.Status.State == truenas.StateSuspended:
		return stateSuspended, nil
	}
	return power, nil
}

// powerState maps the VM's state to On or Off, the states of line 0.3. A suspended VM is On: it keeps its memory and uses its
// disks. ERROR is neither, because TrueNAS also reports it when it cannot reach its hypervisor.
func powerState(vm truenas.VM) (string, error) {
	switch vm.Status.State {
	case truenas.StateRunning, truenas.StateSuspended:
		return stateOn, nil
	case truenas.StateStopped:
		return stateOff, nil
	}
	return "", refusal.Faultf(refusal.ErrVMFailed, "state of VM %q is unknown: TrueNAS reports %s: %w", vmrecord.Name(vm), vm.Status.State, truenas.ErrUnavailable)
}

// raw returns the other facts about a VM: a flat object of strings, the only form that the manager accepts.
func (s *Server) raw(vm truenas.VM) map[string]string {
	raw := map[string]string{
		"truenas_id":    strconv.FormatInt(vm.ID, 10),
		"truenas_name":  vm.Name,
		"name":          s.marks.Name(vm),
		"state":         vm.Status.State,
		"cpu":           strconv.Itoa(vmrecord.CPUs(vm)),
		"memory_mib":    strconv.FormatInt(vm.MemoryMiB, 10),
		"bootloader":    vm.Bootloader,
		"autostart":     strconv.FormatBool(vm.Autostart),
		"managed":       strconv.FormatBool(s.marks.Ours(vm)),
		"macs":          strings.Join(vmrecord.MACs(vm), ","),
		"volumes":       strings.Join(vmrecord.Volumes(vm), ","),
		"cdroms":        strings.Join(vmrecord.CDROMs(vm), ","),
		"truenas":       s.nas.Status().System,
		"domain_state":  vm.Status.DomainState,
		"secure_boot":   strconv.FormatBool(vm.SecureBoot),
		"tpm":           strconv.FormatBool(vm.TPM),
		"provider_name": s.cfg.ID,

		"serial_console": fmt.Sprintf("%d_%s", vm.ID, vm.Name), // the domain name for virsh console, as vm.get_console returns it
		"disk_serials":   strings.Join(vmrecord.Serials(vm), ","),
	}
	m, ours := s.marks.Of(vm)
	if !ours {
		m, _ = vmrecord.Mark(vm) // The mark may be that of another provider.
	}
	raw["owner_uid"], raw["owner_namespace"] = m.Owner, m.Namespace
	boots := bootorder.Parse(m.Boot)
	boots = boots.Resolve(vmrecord.Active(vm), boots.Fired) // The interrupted start used the once if the VM runs.
	raw["boot"], raw["boot_once"] = boots.Always, boots.Once
	if inserted := media.Parse(m.Media); hasDrive(vm, inserted.Path) {
		raw["media"] = inserted.Name()
	}
	raw["owner"], raw["tags"] = m.Owner, strings.Join(m.Tags, ",")
	if s.checkComplete(vm) != nil {
		about, _ := s.clones.Get(vm.UUID)
		raw["state"], raw["clone_of"], raw["clone_progress"] = "CLONING", m.Source, about.String()
	}
	for key, value := range raw {
		if value == "" {
			delete(raw, key)
		}
	}
	return raw
}
