package server

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
	sdkerrors "github.com/projectbeskar/virtrigaud/sdk/provider/errors"

	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// Create creates a VM, or completes the VM of an earlier attempt: it observes the state of the NAS, compares it with the
// request and converges. It returns when the VM is complete and off.
//
// It validates the complete request before the first change. If the NAS refuses a later call, Create removes the objects of
// this attempt; if the NAS is unreachable, they stay, and the manager's next attempt completes the VM.
func (s *Server) Create(ctx context.Context, req *providerv1.CreateRequest) (resp *providerv1.CreateResponse, err error) {
	want, err := spec.Parse(req)
	if err != nil {
		return nil, err
	}
	id := spec.VMID(s.cfg.ID, want.Owner, want.Namespace, want.Name)
	unlock, err := s.locks.Lock(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	chosen, err := s.lockHostDevices(ctx, want.Class.Hardware)
	if err != nil {
		return nil, err
	}
	defer chosen()
	release, err := s.settlePool(ctx, &want, id)
	defer func() {
		if failed := release(); failed != nil {
			err = errors.Join(err, failed)
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := s.resolve(&want); err != nil {
		return nil, err
	}
	if err := s.permitParts(want); err != nil {
		return nil, err
	}
	seen, err := s.observeNamed(ctx, &want, id)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(s.allowHome(want, seen, id), s.mayUse(want.Image, seen), s.confineRoot(want, seen, id)); err != nil {
		return nil, err
	}
	if err := s.checkFile(ctx, want, seen); err != nil {
		return nil, err
	}
	if want.Image.Prepared != nil && seen.snapshot == nil && !seen.hasRoot(s.layout.VMDataset(want.Pool, want.OnNAS())) {
		return s.await(ctx, *want.Image.Prepared, id)
	}
	s.waiting.remove(id)
	p, err := s.fittingPlan(ctx, want, id, seen)
	if err != nil {
		return nil, err
	}
	p.announce(ctx)
	if isDryRun(ctx) {
		return &providerv1.CreateResponse{Id: id}, nil
	}
	vm, err := s.converge(ctx, p)
	if err != nil {
		return nil, err
	}
	return &providerv1.CreateResponse{Id: vm.UUID}, nil
}

// announce adds the warning and the notes about the VM to the response.
func (p *plan) announce(ctx context.Context) {
	if p.installs {
		announce(ctx, headerNote, installerNote)
	}
	if p.warning != "" {
		announce(ctx, headerWarning, p.warning)
	}
}

// fittingPlan plans the VM, and refuses hardware and devices that the NAS does not have.
func (s *Server) fittingPlan(ctx context.Context, want spec.VM, id string, seen *observation) (*plan, error) {
	p, err := s.plan(want, id, seen)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(s.checkImported(p, seen), hardware.Fit(ctx, s.nas, p.class, p.existing)); err != nil {
		return nil, err
	}
	return p, s.fitDevices(ctx, p)
}

// converge creates the missing objects of the plan and reads the VM back.
func (s *Server) converge(ctx context.Context, p *plan) (truenas.VM, error) {
	if p.complete() {
		return *p.existing, s.resolveConflict(ctx, p, *p.existing)
	}
	if p.existing != nil {
		if err := s.checkRepairable(ctx, *p.existing); err != nil {
			return truenas.VM{}, err
		}
		s.incomplete.add(p.id)
	}
	for _, dataset := range p.datasets() {
		if err := s.claims.EnsureRoot(ctx, dataset); err != nil {
			return truenas.VM{}, err
		}
	}
	b := &builder{nas: s.nas, plan: p}
	if err := errors.Join(s.noteUse(ctx, p), b.build(ctx)); err != nil {
		return truenas.VM{}, s.undo(ctx, b, b.removedMeanwhile(ctx, err))
	}
	before := s.inventory.Mark()
	vm, err := b.verify(ctx)
	if err != nil {
		return truenas.VM{}, b.removedMeanwhile(ctx, err)
	}
	if err := s.resolveConflict(ctx, p, vm); err != nil {
		return truenas.VM{}, s.undo(ctx, b, err)
	}
	if err := s.checkDoctorAbsent(ctx, p); err != nil {
		return truenas.VM{}, err
	}
	if p.warning != "" {
		s.log.Warn(p.warning, zap.String("vm", p.mark.Name))
	}
	s.inventory.Put(vm, before)
	s.marks.Note(p.mark)
	return vm, nil
}

// checkDoctorAbsent checks that doctor did not remove the leftovers of a VM while Create completed the VM. Doctor reads the VM after
// it has taken the lock, and Create reads the lock after it has completed the VM, so that at least one of them notices the other.
func (s *Server) checkDoctorAbsent(ctx context.Context, p *plan) error {
	if !p.exists && !slices.ContainsFunc(p.places, func(b place) bool { return b.exists }) || p.mark.Source != "" {
		return nil // The objects of this attempt are too new to be leftovers.
	}
	busy, err := s.leases.HeldByOther(ctx, p.dataset)
	if err == nil && busy {
		err = refusal.Aborted("VM %q: another process removes the leftovers of an earlier attempt; retry", p.mark.Name)
	}
	return err
}

// undo removes the objects of a failed attempt, unless the failure is transient: then the next attempt continues where this one
// stopped. A Create that can never succeed must leave no objects, since the owner of the VM has no id to delete them by.
func (s *Server) undo(ctx context.Context, b *builder, cause error) error {
	if truenas.Transient(cause) {
		return cause
	}
	ctx, cancel := s.leases.Undoing(ctx)
	defer cancel()
	return errors.Join(cause, b.remove(ctx))
}

// isRetryable reports whether a retry can succeed: the failure is transient, or another call changed the same thing.
func isRetryable(err error) bool {
	var own *sdkerrors.ProviderError
	return truenas.Transient(err) || errors.As(err, &own) && own.Code == codes.Aborted
}
