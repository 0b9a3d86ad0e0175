package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
)

// busyTimeout is how long a dataset may stay busy after its VM is gone; the manager waits two
// minutes for Delete.
const busyTimeout = 60 * time.Second

// Delete removes a VM with its disks, and is done when it answers: the manager asks neither for
// a task nor again. A VM that is not there is success. What an interrupted Delete left behind
// is found by the id on its dataset.
func (s *Server) Delete(ctx context.Context, req *providerv1.DeleteRequest) (*providerv1.TaskResponse, error) {
	id, err := canonicalID(req.GetId())
	if err != nil {
		return &providerv1.TaskResponse{}, nil // No VM was ever made with such an id.
	}
	unlock, err := s.locks.lock(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := s.removal(ctx, id)
	if err != nil {
		return nil, undone(unchecked(err))
	}
	if err := s.mayRemove(ctx, r); err != nil {
		return nil, undone(err)
	}
	if err := s.remove(ctx, r); err != nil {
		return nil, undone(err)
	}
	s.inventory.forget(id)
	s.waiting.remove(id)
	s.doubts.remove(id)
	return &providerv1.TaskResponse{}, nil
}

// undone keeps "not found" for a VM that is not there: the manager lets the VM go when it is told
// so, and here something else of it has vanished, as when its clone is deleted at the same time.
func undone(err error) error {
	if errors.Is(err, truenas.ErrNotFound) {
		return aborted("the VM is not deleted yet: %v", err)
	}
	return err
}

// removal is what goes with a VM.
type removal struct {
	vm       *truenas.VM
	datasets []string
	cloned   bool         // other VMs of ours have linked clones of its disks
	origins  []string     // the snapshots that its own disks are clones of
	left     []string     // what a process left that ended while it let clones go or copied disks
	copies   []truenas.VM // full clones of the VM that are not whole yet
}

// removal finds the VM and its datasets and refuses when something of somebody else's hangs on
// them. Nothing is changed by then.
func (s *Server) removal(ctx context.Context, id string) (*removal, error) {
	var vms []truenas.VM
	var datasets []truenas.Dataset
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { vms, err = s.nas.VMs.List(gctx); return })
	g.Go(func() (err error) {
		datasets, err = s.nas.Datasets.List(gctx, truenas.AnyOf(truenas.Cond("id", "~", s.layout.machinesPattern()), truenas.Cond("id", "~", s.layout.promotesPattern())))
		return
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	s.learnHomes(datasets)
	r := &removal{copies: s.copiesOf(id, vms)}
	if err := s.claim(r, id, vms); err != nil {
		return nil, err
	}
	var recorded []string
	homes, err := s.homesOf(id, r.vm, datasets)
	if err != nil {
		return nil, err
	}
	for _, d := range homes {
		r.datasets = append(r.datasets, d.ID)
		recorded = append(recorded, d.LocalUserProperties[propImport])
	}
	r.datasets = append(r.datasets, s.imported(r.vm, recorded, vms)...)
	r.left = s.leftPromotes(r, datasets)
	if err := s.origins(ctx, r); err != nil {
		return nil, err
	}
	if err := s.unused(ctx, r, vms); err != nil {
		return nil, err
	}
	if r.cloned || len(r.origins) > 0 {
		return r, s.permit(cloneVMs)
	}
	return r, nil
}

// claim finds the VM of this id among all.
func (s *Server) claim(r *removal, id string, vms []truenas.VM) error {
	for i, vm := range vms {
		if vm.UUID != id {
			continue
		}
		if r.vm != nil {
			return conflict("the NAS has two VMs with the UUID %s, numbers %d and %d; remove the wrong one there", id, r.vm.ID, vm.ID)
		}
		if err := s.mayDestroy(vm); err != nil {
			return err
		}
		r.vm = &vms[i]
	}
	return nil
}

// origins notes the snapshots that Clone took for this VM.
func (s *Server) origins(ctx context.Context, r *removal) error {
	if len(r.datasets) == 0 {
		return nil
	}
	var filters []truenas.Filter
	for _, dataset := range r.datasets {
		filters = append(filters, truenas.Cond("id", "^", dataset+"/"))
	}
	volumes, err := s.nas.Datasets.List(ctx, truenas.AnyOf(filters...))
	r.origins = nil
	for _, v := range volumes {
		if _, name, ok := strings.Cut(v.Origin, "@"); ok && strings.HasPrefix(name, cloneSnapshot) {
			r.origins = append(r.origins, v.Origin)
		}
	}
	return err
}

// imported are the datasets of imported disks that the VM had attached: they were landed for it. Of a VM whose record is gone
// its dataset recorded them; one that another VM has by now is that one's.
func (s *Server) imported(vm *truenas.VM, recorded []string, vms []truenas.VM) []string {
	var datasets []string
	switch {
	case vm == nil:
		for _, r := range recorded {
			if dataset, ok := s.layout.importOf(place{dataset: r}.volume()); ok && len(usersOf(vms, dataset, -1)) == 0 {
				datasets = append(datasets, dataset)
			}
		}
		return datasets
	case !s.ours(*vm):
		return nil
	}
	for _, d := range vm.Devices {
		if dataset, ok := s.layout.importOf(volumeOf(d.Attributes.Path)); ok && d.Attributes.DType == truenas.DeviceDisk {
			datasets = append(datasets, dataset)
		}
	}
	return datasets
}

// unused refuses to destroy what others use. TrueNAS would stop a VM whose file lies in a
// dataset that is deleted.
func (s *Server) unused(ctx context.Context, r *removal, vms []truenas.VM) error {
	var self int64 = -1
	if r.vm != nil {
		self = r.vm.ID
	}
	for _, dataset := range r.datasets {
		if users := usersOf(vms, dataset, self); len(users) > 0 {
			return inUse("VM %q uses a disk or file in %s; detach it first", users[0], dataset)
		}
	}
	if len(r.datasets) == 0 {
		return nil
	}
	clones, err := s.clonesOf(ctx, r.datasets)
	if err != nil {
		return err
	}
	for _, c := range clones {
		if c.UserProperties[propProvider] != s.cfg.ID {
			return inUse("%s is a clone of %s; delete or promote it first", c.ID, c.Origin)
		}
	}
	r.cloned = len(clones) > 0
	return nil
}

func (s *Server) remove(ctx context.Context, r *removal) error {
	if r.vm != nil && !active(*r.vm) {
		if err := s.surelyOff(ctx, *r.vm); err != nil {
			return err
		}
	}
	if r.cloned {
		if err := s.handOver(ctx, r); err != nil {
			return err
		}
	}
	if r.vm != nil {
		if err := s.removeVM(ctx, *r.vm); err != nil {
			return err
		}
	}
	if err := s.releaseOrigins(ctx, r.origins); err != nil {
		return err
	}
	slices.Reverse(r.datasets) // The VM's own goes last: it says what else goes with the VM.
	for _, dataset := range append(r.left, r.datasets...) {
		if err := destroy(ctx, s.nas, dataset); err != nil {
			return err
		}
	}
	return nil
}

// releaseOrigins has the snapshots that Clone took for this VM go together with the last disk that
// hangs on them: this VM's, or, of a clone that outlived its source, the source's. ZFS does that
// by itself, so nothing is left when the next step is the last. The snapshot of the dataset around
// the disks, which was taken with them, goes now: nothing ever hangs on it.
func (s *Server) releaseOrigins(ctx context.Context, origins []string) error {
	for _, id := range origins {
		volume, name, _ := strings.Cut(id, "@")
		if tree, ok := s.treeOf(volume); ok {
			if err := s.dropSnapshot(ctx, tree+"@"+name, false); err != nil {
				return err
			}
		}
		if err := deleteSnapshot(ctx, s.nas, id, truenas.SnapshotDelete{Defer: true}); err != nil {
			return err
		}
	}
	return nil
}

// removeVM powers a VM off before it removes its record: up to 25.10 TrueNAS does so itself and
// then waits for seven seconds.
func (s *Server) removeVM(ctx context.Context, vm truenas.VM) error {
	if active(vm) {
		err := s.powerOff(ctx, vm)
		if errors.Is(err, truenas.ErrNotFound) {
			return vmVanished(ctx, s.nas, vm.ID, err) // Another replica was faster.
		}
		if err != nil {
			return err
		}
	}
	return deleteVM(ctx, s.nas, vm.ID)
}

// destroy removes a dataset with all that is in it, waiting for the hypervisor to let go of its
// volumes, and asking again when the link was lost. One that is not there is done.
func destroy(ctx context.Context, nas *truenas.Client, dataset string) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := deleteDataset(ctx, nas, dataset)
		switch {
		case err == nil:
			return struct{}{}, nil
		case errors.Is(err, truenas.ErrBusy), errors.Is(err, truenas.ErrUncertain), errors.Is(err, truenas.ErrUnavailable):
			return struct{}{}, err
		}
		return struct{}{}, backoff.Permanent(err)
	}, backoff.WithMaxElapsedTime(busyTimeout))
	if err != nil {
		return fmt.Errorf("dataset %s: %w", dataset, err)
	}
	return nil
}
