package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// zvolTries bounds the retries of a start whose new volume has no device node yet.
const zvolTries = 5

// settleTimeout bounds the time until a VM shows its new state after TrueNAS has reported the operation as done.
const settleTimeout = 60 * time.Second

// Power changes the power state of a VM; a repeated call is harmless. On and Off return when the VM has the state. A
// graceful shutdown and a reboot return a task: their duration depends on the guest, and TrueNAS never powers off a guest
// that ignores a graceful shutdown.
func (s *Server) Power(ctx context.Context, req *providerv1.PowerRequest) (*providerv1.TaskResponse, error) {
	vm, err := s.machine(ctx, req.GetId())
	if _, waits := s.waiting.image(req.GetId()); waits && errors.Is(err, truenas.ErrNotFound) {
		return nil, refusal.Aborted("VM %s does not exist yet: its image is being prepared", req.GetId())
	}
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(s.marks.Identify(ctx, vm), s.checkComplete(vm)); err != nil {
		return nil, err
	}
	unlock, err := s.locks.Lock(ctx, vm.UUID)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// The call that held the lock may have changed the VM.
	if vm, err = s.inventory.Get(ctx, vm.UUID); err != nil {
		return nil, err
	}
	switch op := req.GetOp(); op {
	case providerv1.PowerOp_POWER_OP_ON:
		return &providerv1.TaskResponse{}, s.powerOn(ctx, vm)
	case providerv1.PowerOp_POWER_OP_OFF:
		return &providerv1.TaskResponse{}, s.powerOffAndStay(ctx, vm)
	case providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL:
		return s.shutDown(ctx, vm, req.GetGracefulTimeoutSeconds())
	case providerv1.PowerOp_POWER_OP_REBOOT:
		return s.reboot(ctx, vm)
	default:
		return nil, refusal.InvalidArgument("op", "%v; allowed are ON, OFF, REBOOT and SHUTDOWN_GRACEFUL", op)
	}
}

// powerOn starts a VM, or resumes a suspended one. It sets autostart only after the VM runs, so that a VM that gets no memory stays
// as it was. A repeated call completes an interrupted second step.
func (s *Server) powerOn(ctx context.Context, vm truenas.VM) (failed error) {
	var err error
	if vm.Status.State == truenas.StateRunning {
		if vm, err = s.inventory.Refresh(ctx, vm.UUID); err != nil {
			return err
		}
	}
	vm, err = s.single(ctx, vm)
	if err != nil {
		return err
	}
	if vm, err = s.withBootSource(ctx, vm); err != nil {
		return err
	}
	locked, err := s.startsLocked(ctx, vm)
	if err != nil {
		return err
	}
	if locked {
		release, err := s.lockBoot(ctx, vm)
		if err != nil {
			return err
		}
		defer func() { failed = errors.Join(failed, release()) }()
	}
	if vm, err = s.beforeStart(ctx, vm); err != nil {
		return err
	}
	before := s.inventory.Mark()
	if vm.Status.State != truenas.StateRunning {
		if err := s.start(ctx, vm); err != nil {
			return s.startRefused(ctx, vm, err)
		}
	}
	if vm, err = s.afterStart(ctx, vm); err != nil {
		return err
	}
	if err := s.autostart(ctx, vm, true); err != nil {
		return err
	}
	s.seenRunning.add(vm.UUID)
	vm.Status.State = truenas.StateRunning
	vm.Autostart = vm.Autostart || s.marks.Ours(vm)
	s.inventory.Put(vm, before)
	return nil
}

// start retries a start while the device node of a new volume is missing. The error names a volume that stays missing.
func (s *Server) start(ctx context.Context, vm truenas.VM) error {
	if vm.Status.State == truenas.StateSuspended {
		return s.nas.VMs.Resume(ctx, vm.ID)
	}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := s.nas.VMs.Start(ctx, vm.ID, false)
		switch {
		case err == nil:
			return struct{}{}, nil
		case errors.Is(err, truenas.ErrActive):
			return struct{}{}, permanently(s.checkActive(ctx, vm))
		case errors.Is(err, truenas.ErrNotFound), errors.Is(err, truenas.ErrNoDevice):
			if locked := s.unlocked(ctx, vm); locked != nil {
				return struct{}{}, permanently(locked)
			}
			return struct{}{}, err
		}
		return struct{}{}, permanently(s.ignoreIfRunning(ctx, vm, err))
	}, backoff.WithMaxTries(zvolTries))
	return err
}

// unlocked refuses a VM with a disk on an encrypted dataset that is locked. A locked volume has no device node.
func (s *Server) unlocked(ctx context.Context, vm truenas.VM) error {
	volumes := vmrecord.Disks(vm)
	if len(volumes) == 0 {
		return nil
	}
	found, err := s.nas.Datasets.List(ctx, truenas.Cond("id", "in", volumes))
	if err != nil {
		return err
	}
	locked := func(volume string) bool {
		return slices.ContainsFunc(found, func(d truenas.Dataset) bool { return d.ID == volume && d.Locked })
	}
	if i := slices.IndexFunc(volumes, locked); i >= 0 {
		return refusal.FailedPrecondition("dataset %s, a disk of VM %q, is encrypted and locked; unlock it on the NAS, then power the VM on", volumes[i], vmrecord.Name(vm))
	}
	return nil
}

// checkActive checks the error that a VM runs already against the VM's state. TrueNAS also returns that error for a suspended VM,
// and resumes it.
func (s *Server) checkActive(ctx context.Context, vm truenas.VM) error {
	seen, err := s.inventory.Refresh(ctx, vm.UUID)
	switch {
	case err != nil:
		return err
	case seen.Status.State == truenas.StateSuspended:
		return s.nas.VMs.Resume(ctx, vm.ID)
	case !vmrecord.Active(seen):
		return fmt.Errorf("vm %q: TrueNAS reports it as active and as %s: %w", vm.Name, seen.Status.State, truenas.ErrBusy)
	}
	return nil
}

// ignoreIfRunning ignores the failure of a start when the VM runs: from 26 on TrueNAS reloads its web server afterwards, and reports
// a failure of the reload as a failure of the start.
func (s *Server) ignoreIfRunning(ctx context.Context, vm truenas.VM, failed error) error {
	if answered := (*truenas.Error)(nil); !errors.As(failed, &answered) || errors.Is(failed, truenas.ErrNoMemory) {
		return failed
	}
	if seen, err := s.inventory.Refresh(ctx, vm.UUID); err != nil || seen.Status.State != truenas.StateRunning {
		return failed
	}
	return nil
}

// autostart sets whether a VM of this provider starts with the NAS. A VM that a user made keeps its setting.
func (s *Server) autostart(ctx context.Context, vm truenas.VM, on bool) error {
	if vm.Autostart == on || !s.marks.Ours(vm) {
		return nil
	}
	_, err := s.nas.VMs.Update(ctx, vm.ID, truenas.VMUpdate{Autostart: &on})
	return err
}

func (s *Server) powerOffAndStay(ctx context.Context, vm truenas.VM) error {
	if err := s.autostart(ctx, vm, false); err != nil {
		return err
	}
	return s.powerOff(ctx, vm)
}

// permanently stops the retries with an error.
func permanently(err error) error {
	if err == nil {
		return nil
	}
	return backoff.Permanent(err)
}

// powerOff cuts the power and waits until the VM is off.
func (s *Server) powerOff(ctx context.Context, vm truenas.VM) error {
	vm, err := s.inventory.Refresh(ctx, vm.UUID)
	if err != nil {
		return err
	}
	if vm.Status.State == truenas.StateStopped {
		return s.confirmOff(ctx, vm)
	}
	if err := s.nas.VMs.PowerOff(ctx, vm.ID); err != nil && !errors.Is(err, truenas.ErrInactive) {
		return err
	}
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		vm, err := s.inventory.Refresh(ctx, vm.UUID)
		switch {
		case err != nil:
			return struct{}{}, backoff.Permanent(err)
		case vm.Status.State != truenas.StateStopped:
			return struct{}{}, fmt.Errorf("vm %q is still %s: %w", vm.Name, vm.Status.State, truenas.ErrBusy)
		}
		return struct{}{}, permanently(s.confirmOff(ctx, vm))
	}, backoff.WithMaxElapsedTime(settleTimeout))
	return err
}
