package server

import (
	"context"
	"encoding/json"

	"golang.org/x/sync/errgroup"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// shutDown sends the guest a shutdown request. The manager repeats its call every five seconds until the VM is off, so the reply
// for a VM that is off or shutting down is success without a task.
//
// The time that TrueNAS waits for the guest is a setting of the VM, which belongs to the user: the task ends after that time at the
// latest, whatever the caller expects.
func (s *Server) shutDown(ctx context.Context, vm truenas.VM, seconds int32) (*providerv1.TaskResponse, error) {
	if seconds < 0 {
		return nil, refusal.InvalidArgument("graceful_timeout_seconds", "%d; it must not be negative", seconds)
	}
	vm, busy, err := s.confirmed(ctx, vm)
	if err != nil {
		return nil, err
	}
	if !vmrecord.Active(vm) || busy {
		return &providerv1.TaskResponse{}, nil
	}
	if err := s.autostart(ctx, vm, false); err != nil {
		return nil, err
	}
	// Not forced, because the caller has Off to force it.
	job, err := s.nas.VMs.StopStart(ctx, vm.ID, truenas.StopOptions{})
	if err != nil {
		return nil, err
	}
	return &providerv1.TaskResponse{Task: taskRef(methodStop, job, vm.ID)}, nil
}

// reboot restarts a running VM: TrueNAS sends the guest a shutdown request, cuts the power after the VM's shutdown timeout, and
// starts it again.
func (s *Server) reboot(ctx context.Context, vm truenas.VM) (*providerv1.TaskResponse, error) {
	vm, busy, err := s.confirmed(ctx, vm)
	if err != nil {
		return nil, err
	}
	if busy {
		return &providerv1.TaskResponse{}, nil
	}
	if !vmrecord.Active(vm) {
		return nil, refusal.FailedPrecondition("VM %q is off; power it on instead of rebooting it", vmrecord.Name(vm))
	}
	if once := s.bootRecord(vm).Once; once != "" {
		return nil, refusal.FailedPrecondition("VM %q boots the %s once at its next start, and a reboot is not a start: power it off and on", vmrecord.Name(vm), once)
	}
	job, err := s.nas.VMs.RestartStart(ctx, vm.ID)
	if err != nil {
		return nil, err
	}
	return &providerv1.TaskResponse{Task: taskRef(methodRestart, job, vm.ID)}, nil
}

// confirmed reads a VM from the NAS, and reports whether a job is stopping or restarting it.
func (s *Server) confirmed(ctx context.Context, vm truenas.VM) (truenas.VM, bool, error) {
	var fresh truenas.VM
	var jobs []truenas.Job
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { fresh, err = s.inventory.Refresh(gctx, vm.UUID); return })
	g.Go(func() (err error) {
		jobs, err = s.nas.Jobs.List(gctx, truenas.Cond("method", "in", []string{methodStop, methodRestart}), truenas.Cond("state", "in", []string{truenas.JobWaiting, truenas.JobRunning}))
		return
	})
	if err := g.Wait(); err != nil {
		return vm, false, err
	}
	if err := s.checkState(ctx, fresh); err != nil {
		return vm, false, err
	}
	for _, job := range jobs {
		if jobIsFor(job, fresh.ID) {
			return fresh, true, nil
		}
	}
	return fresh, false, nil
}

// jobIsFor reports whether a job's first argument is this VM.
func jobIsFor(job truenas.Job, vm int64) bool {
	var arguments []json.RawMessage
	var id int64
	return json.Unmarshal(job.Arguments, &arguments) == nil && len(arguments) > 0 && json.Unmarshal(arguments[0], &id) == nil && id == vm
}
