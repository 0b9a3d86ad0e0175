package server

import (
	"context"
	"errors"

	"virtrigaud-provider-truenas/server/bootorder"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// choosesBoot reports whether a VM boots from a source other than its disk, has done so before, or has a drive to remove before its
// next start.
func (s *Server) choosesBoot(vm truenas.VM) bool {
	_, has := s.drive(vm, bootorder.Network)
	return s.bootRecord(vm) != (bootorder.Record{}) || len(s.mediaRecord(vm).Ejected) > 0 || has && s.cfg.NetworkBootISO != "" && s.marks.Ours(vm)
}

// withBootSource reads a VM again before its start if another replica may have set its boot source a moment ago, because the event
// of that change may be in flight. A VM without a drive boots from its disk when network boot is not configured, and costs no call.
func (s *Server) withBootSource(ctx context.Context, vm truenas.VM) (truenas.VM, error) {
	_, has := s.drive(vm, bootorder.CDROM)
	if s.choosesBoot(vm) || vmrecord.Active(vm) || !has && s.cfg.NetworkBootISO == "" {
		return vm, nil
	}
	return s.inventory.Read(ctx, vm.UUID)
}

// lockBoot keeps other replicas from changing a VM's record and the order of its devices until release: if one replica resolves a
// once that another is about to start, the guest boots it twice. The lock is a dataset, and a start of such a VM changes devices,
// so both need more roles than the start of another VM.
func (s *Server) lockBoot(ctx context.Context, vm truenas.VM) (release func() error, err error) {
	if err := s.permit(bootVMs); err != nil {
		return nil, err
	}
	return s.leases.LockVM(ctx, s.home(vm), "its boot order is being changed")
}

// beforeStart puts the devices of a VM in order for the next start, unless the VM runs already. It costs no call for a VM that
// always boots from its disk.
func (s *Server) beforeStart(ctx context.Context, vm truenas.VM) (truenas.VM, error) {
	if !s.choosesBoot(vm) {
		return vm, nil
	}
	vm, err := s.inventory.Read(ctx, vm.UUID)
	if err != nil {
		return vm, err
	}
	if vm, err = s.resolveBoot(ctx, vm); err != nil || vmrecord.Active(vm) {
		return vm, err
	}
	if vm, err = s.dropEjected(ctx, vm); err != nil {
		return vm, err
	}
	record := s.bootRecord(vm)
	first := record.First()
	if record.Once == "" {
		first = s.bootable(vm, first)
	}
	if err := s.checkBootSource(ctx, vm, first); err != nil {
		return vm, err
	}
	if record.Once != "" {
		evidence, err := s.evidence(ctx, vm)
		if err != nil {
			return vm, err
		}
		stays := false
		if vm, err = s.noteBootRecord(ctx, vm, record.Fire(evidence), &stays); err != nil {
			return vm, err
		}
	}
	return s.arrange(ctx, vm, first)
}

// startRefused keeps a once when the NAS refused its start and the VM is certainly off. The log may have grown although no guest
// has booted, so startRefused reads the evidence again. It also moves the drive back: a user who starts the VM on the NAS then gets
// the permanent boot source, and does not use the recorded once.
func (s *Server) startRefused(ctx context.Context, vm truenas.VM, failed error) error {
	if answered := (*truenas.Error)(nil); s.bootRecord(vm).Fired == "" || !errors.As(failed, &answered) {
		return failed
	}
	seen, err := s.inventory.Read(ctx, vm.UUID)
	if err != nil || s.confirmOff(ctx, seen) != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, s.keepOnce(ctx, seen))
}

// keepOnce reverts the preparation of a failed start.
func (s *Server) keepOnce(ctx context.Context, vm truenas.VM) error {
	evidence, err := s.evidence(ctx, vm)
	if err != nil {
		return err
	}
	record := s.bootRecord(vm)
	if evidence != bootorder.Unproven {
		if vm, err = s.noteBootRecord(ctx, vm, record.Fire(evidence), nil); err != nil {
			return err
		}
	}
	if vm, err = s.arrange(ctx, vm, record.Rest()); err != nil {
		return err
	}
	_, err = s.noteBootRecord(ctx, vm, record.Fire(""), nil)
	return err
}

// afterStart removes a once that the start has used. It sets autostart again only after the VM boots from its permanent source.
func (s *Server) afterStart(ctx context.Context, vm truenas.VM) (truenas.VM, error) {
	record := s.bootRecord(vm)
	if record.Fired == "" {
		return vm, nil
	}
	vm.Status.State = truenas.StateRunning
	vm, err := s.arrange(ctx, vm, record.Rest())
	if err != nil {
		return vm, err
	}
	back := true
	return s.noteBootRecord(ctx, vm, record.Used(), &back)
}
