package server

import (
	"context"
	"errors"
	"slices"
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// Delete removes a VM with its disks. The removal is complete when Delete returns, because the manager neither polls a task
// nor repeats the call. An absent VM is success. Delete finds the remains of an interrupted Delete by the id on their
// dataset.
func (s *Server) Delete(ctx context.Context, req *providerv1.DeleteRequest) (*providerv1.TaskResponse, error) {
	id, err := canonicalID(req.GetId())
	if err != nil {
		return &providerv1.TaskResponse{}, nil // This provider never made a VM with such an id.
	}
	unlock, err := s.locks.Lock(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := s.removal(ctx, id)
	if err != nil {
		return nil, notFoundToAborted(unchecked(err))
	}
	if err := s.mayRemove(ctx, r); err != nil {
		return nil, notFoundToAborted(err)
	}
	if err := s.remove(ctx, r); err != nil {
		return nil, notFoundToAborted(err)
	}
	s.noteRelease(ctx, r)
	s.inventory.Invalidate(id)
	s.waiting.remove(id)
	s.incomplete.remove(id)
	return &providerv1.TaskResponse{}, nil
}

// notFoundToAborted turns NotFound into Aborted. On NotFound the manager forgets the VM, but here the error means that a part of the VM
// disappeared during the deletion, as when its clone is deleted at the same time.
func notFoundToAborted(err error) error {
	if errors.Is(err, truenas.ErrNotFound) {
		return refusal.Aborted("the VM is not deleted yet: %v", err)
	}
	return err
}

// removal is a VM with the objects to remove.
type removal struct {
	id         string
	vm         *truenas.VM
	duplicates []truenas.VM      // duplicate records of the VM, which two replicas made at once
	datasets   []string          // the VM's own first, then those for disks on other pools and imported disks
	found      *destroy.Contents // the contents of the datasets; nil: read them again
	cloned     bool              // other VMs of this provider have linked clones of its disks
	origins    []string          // the snapshots that its disks are clones of
	images     []string          // the datasets of the prepared images that its disks are clones of
	left       []string          // leftovers of a process that ended while it promoted clones or copied disks
	copies     []truenas.VM      // unfinished full clones of the VM
}

// removal finds the VM and its datasets. It refuses when other objects depend on them, or when the VM has disks that a
// deletion would leave behind. It changes nothing.
func (s *Server) removal(ctx context.Context, id string) (*removal, error) {
	seen, err := s.lookFor(ctx, id)
	if err != nil {
		return nil, err
	}
	r := &removal{id: id, copies: s.copiesOf(id, seen.vms)}
	if err := s.claim(r, seen.vms); err != nil {
		return nil, err
	}
	own, err := s.marks.Datasets(id, r.vm, seen.datasets)
	if err != nil {
		return nil, err
	}
	for _, d := range ownership.HomesFirst(own) {
		r.datasets = append(r.datasets, d.ID)
	}
	steps := []func() error{
		func() error { return s.withImports(ctx, r, own, seen) },
		func() error { return s.accountFor(ctx, r) },
		func() error { return s.marks.CheckAway(ctx, own) },
		func() error { return s.unused(ctx, r, seen) },
		func() error { return s.lookInto(ctx, r) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	r.left = s.leftPromotes(r, seen.datasets)
	if r.cloned || len(r.origins) > 0 {
		return r, s.permit(cloneVMs)
	}
	return r, nil
}

// claim finds the records of this VM among all records. Two replicas that create one VM at once leave two records, of which only
// one gets devices.
func (s *Server) claim(r *removal, vms []truenas.VM) error {
	var records []truenas.VM
	for _, vm := range vms {
		if vm.UUID != r.id {
			continue
		}
		if err := s.mayDestroy(vm); err != nil {
			return err
		}
		records = append(records, vm)
	}
	if len(records) == 0 {
		return nil
	}
	kept, duplicates, err := duplicateRecordsOf(records)
	r.vm, r.duplicates = &kept, duplicates
	return err
}

// lookInto reads the contents of the datasets and their dependents. Clones of this provider's VMs receive the snapshots that they
// are made from; foreign clones are never touched.
func (s *Server) lookInto(ctx context.Context, r *removal) (err error) {
	if r.found, err = destroy.Survey(ctx, s.nas, r.datasets...); err != nil {
		return err
	}
	if err := r.found.OwnOnly(); err != nil {
		return err
	}
	for _, c := range r.found.Clones {
		if !s.mine(c) {
			return destroy.CloneError(c)
		}
	}
	r.cloned = len(r.found.Clones) > 0
	r.origins = nil
	for _, d := range r.found.Datasets {
		if _, name, ok := strings.Cut(d.Origin, "@"); ok && strings.HasPrefix(name, spec.CloneSnapshot) {
			r.origins = append(r.origins, d.Origin)
		}
		if volume, _, ok := strings.Cut(d.Origin, "@"); ok && s.images.OfVolume(volume) != "" {
			r.images = append(r.images, s.images.OfVolume(volume))
		}
	}
	return nil
}

// mine reports whether a dataset carries this provider's mark, its own or inherited.
func (s *Server) mine(d truenas.Dataset) bool { return d.UserProperties[spec.PropProvider] == s.cfg.ID }

// unused refuses to destroy objects that other VMs use. TrueNAS would stop a VM whose file is in a deleted dataset.
func (s *Server) unused(ctx context.Context, r *removal, seen *surroundings) error {
	for _, dataset := range r.datasets {
		others, err := s.othersWith(ctx, r.id, seen, dataset)
		if err != nil {
			return err
		}
		if len(others) > 0 {
			return refusal.Withheld(refusal.InUse("VM %q uses a disk or file in %s; detach it first", others[0], dataset), "another VM uses a disk or file of this VM; the provider's log names it")
		}
	}
	return nil
}

// remove removes a VM. Its disks go before its record: TrueNAS 26 and 27 may report success and leave half of the disks, which
// Delete then finds by the record. The VM's own dataset goes last, because it records the other datasets and pools of the VM.
func (s *Server) remove(ctx context.Context, r *removal) error {
	if r.vm != nil && !vmrecord.Active(*r.vm) {
		if err := s.confirmOff(ctx, *r.vm); err != nil {
			return err
		}
	}
	if r.cloned {
		if err := s.handOver(ctx, r); err != nil {
			return err
		}
	}
	if r.vm != nil && vmrecord.Active(*r.vm) {
		if err := s.off(ctx, *r.vm); err != nil {
			return err
		}
		r.found = nil // The contents may have changed meanwhile.
	}
	if err := s.releaseOrigins(ctx, r.origins); err != nil {
		return err
	}
	if err := s.removeDisks(ctx, r); err != nil {
		return err
	}
	if err := s.removeRecords(ctx, r); err != nil {
		return err
	}
	roots := slices.Clone(r.datasets)
	slices.Reverse(roots)
	for _, dataset := range append(r.left, roots...) {
		if err := destroy.Dataset(ctx, s.nas, dataset); err != nil {
			return err
		}
	}
	return nil
}

// removeDisks destroys the contents of the datasets. It uses the earlier reading once: a retry reads them again.
func (s *Server) removeDisks(ctx context.Context, r *removal) error {
	return destroy.RetryBusy(ctx, func() error {
		if r.found == nil {
			if err := s.lookInto(ctx, r); err != nil {
				return err
			}
		}
		found := r.found
		r.found = nil
		if len(found.Clones) > 0 {
			return refusal.Aborted("%s was cloned from %s during the Delete", found.Clones[0].ID, found.Clones[0].Origin)
		}
		return found.Empty(ctx, s.nas)
	})
}

func (s *Server) removeRecords(ctx context.Context, r *removal) error {
	records := slices.Clone(r.duplicates)
	if r.vm != nil {
		records = append(records, *r.vm)
	}
	for _, vm := range records {
		if err := destroy.VM(ctx, s.nas, vm.ID); err != nil {
			return err
		}
	}
	return nil
}

// releaseOrigins marks the snapshots that Clone took for this VM for deferred destruction: ZFS destroys each of them with
// its last clone, which is a disk of this VM or, when a clone outlived its source, a disk of the source. The snapshots of the
// dataset around the disks and of its other children, which were taken with them and have no clones, are destroyed now. A
// snapshot with a hold stays; it does not block the deletion, and the doctor removes it later.
func (s *Server) releaseOrigins(ctx context.Context, origins []string) error {
	for _, id := range origins {
		volume, name, _ := strings.Cut(id, "@")
		if tree, ok := s.marks.Tree(volume); ok {
			err := destroy.SnapshotsNamed(ctx, s.nas, tree, name, origins...)
			if errors.Is(err, truenas.ErrHasClones) {
				err = s.unlessCloned(ctx, tree, name, err)
			}
			if err != nil && !errors.Is(err, truenas.ErrHeld) {
				return err
			}
		}
		err := destroy.SnapshotDeferred(ctx, s.nas, id)
		if err != nil && !errors.Is(err, truenas.ErrHeld) {
			return err
		}
	}
	return nil
}

// unlessCloned ignores a failure when snapshots of this name have clones that this provider did not make.
func (s *Server) unlessCloned(ctx context.Context, tree, name string, failure error) error {
	clones, err := s.marks.Clones(ctx, []string{tree})
	if err == nil && slices.ContainsFunc(clones, func(d truenas.Dataset) bool { return strings.HasSuffix(d.Origin, "@"+name) && !s.mine(d) }) {
		return nil
	}
	return failure
}

// off powers a VM off before its disks are destroyed: up to 25.10 TrueNAS does so itself when the record is removed, and then waits
// for seven seconds.
func (s *Server) off(ctx context.Context, vm truenas.VM) error {
	err := s.powerOff(ctx, vm)
	if errors.Is(err, truenas.ErrNotFound) {
		return destroy.VMVanished(ctx, s.nas, vm.ID, err) // Another replica removed the VM first.
	}
	return err
}
