package server

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// confirmOff refuses unless it is certain that the VM does not run. While libvirt does not report a VM's state, as during its
// restart, TrueNAS reports STOPPED from 26 on, and ERROR before that, although the guest may run. confirmOff then queries the kernel
// for the processes that have the VM's disks open.
func (s *Server) confirmOff(ctx context.Context, vm truenas.VM) error {
	if vmrecord.Active(vm) {
		return refusal.FailedPrecondition("VM %q is %s; power it off first", vmrecord.Name(vm), vm.Status.State)
	}
	if s.knownOff(vm) {
		return nil
	}
	for _, dataset := range s.diskDatasets(vm) {
		processes, err := s.nas.Datasets.Processes(ctx, dataset)
		switch {
		case errors.Is(err, truenas.ErrNotFound):
			continue // No guest has an absent dataset open.
		case err != nil:
			return fmt.Errorf("TrueNAS does not know whether VM %q runs: %w", vmrecord.Name(vm), err)
		}
		if i := slices.IndexFunc(processes, truenas.Process.QEMU); i >= 0 {
			return refusal.New(codes.Unavailable, "TrueNAS reports VM %q as %s, but process %d (%s) has its disks open in %s; check libvirt on the NAS",
				vmrecord.Name(vm), vm.Status.State, processes[i].PID, processes[i].Name, dataset)
		}
	}
	return nil
}

// checkRepairable refuses to complete a VM that TrueNAS reports as off unless confirmOff confirms it. A VM that certainly runs is safe:
// Create makes no change that its guest notices.
func (s *Server) checkRepairable(ctx context.Context, vm truenas.VM) error {
	if vmrecord.Active(vm) {
		return nil
	}
	return s.confirmOff(ctx, vm)
}

// checkState refuses to report a VM as off that ran a moment ago, or should run, unless confirmOff confirms it. It makes no call for
// other VMs, so that polls cost the NAS nothing.
func (s *Server) checkState(ctx context.Context, vm truenas.VM) error {
	switch {
	case vmrecord.Active(vm):
		s.seenRunning.add(vm.UUID)
		return nil
	case !s.knownOff(vm) && (vm.Autostart && s.marks.Ours(vm) || s.seenRunning.has(vm.UUID)):
		if err := s.confirmOff(ctx, vm); err != nil {
			return err
		}
	}
	s.seenRunning.remove(vm.UUID)
	return nil
}

// knownOff reports whether libvirt itself reported the VM's state. Before 26 STOPPED always comes from libvirt; from 26 on only
// together with the state of a domain, which a VM has after its first start.
func (s *Server) knownOff(vm truenas.VM) bool {
	return vm.Status.State == truenas.StateStopped && (vm.Status.DomainState != "" || !s.nas.Release().AtLeast(truenas.R26))
}

// diskDatasets returns the datasets to check for a VM's disks: this provider's trees, and each volume elsewhere.
func (s *Server) diskDatasets(vm truenas.VM) []string {
	var datasets []string
	for _, volume := range vmrecord.Disks(vm) {
		dataset, ours := s.marks.Tree(volume)
		if !ours {
			dataset = volume
		}
		if !slices.Contains(datasets, dataset) {
			datasets = append(datasets, dataset)
		}
	}
	return datasets
}
