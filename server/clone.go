package server

import (
	"cmp"
	"context"
	"errors"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/background"
	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// Clone creates a VM from the current disks of another VM: a linked clone shares their blocks, a full clone copies them. The
// clone has its own identity (UUID, MAC addresses, a seed with its host name), and is off. The source may run; the copy then
// has the state after a power failure. Like Create, Clone converges: a repeated request completes an earlier one. A long
// copy continues as a task.
func (s *Server) Clone(ctx context.Context, req *providerv1.CloneRequest) (*providerv1.CloneResponse, error) {
	source, err := s.current(ctx, req.GetSourceVmId())
	if err != nil {
		return nil, err
	}
	if err := s.marks.Identify(ctx, source); err != nil {
		return nil, err
	}
	if err := cmp.Or(s.checkComplete(source), s.onOnePool(source, "a clone of the VM")); err != nil {
		return nil, err
	}
	c := &cloning{s: s, source: source, linked: req.GetLinked()}
	if err := c.parse(req); err != nil {
		return nil, err
	}
	if c.linked {
		return &providerv1.CloneResponse{TargetVmId: c.id()}, c.run(ctx)
	}
	return s.answerCopy(ctx, c)
}

// cloning is one call of Clone.
type cloning struct {
	s      *Server
	source truenas.VM
	linked bool
	want   spec.VM
	host   string // the clone's host name

	snapshot string // the name of the snapshot that the clone is made from

	work    *background.Work[copying] // set for a full clone
	resumed bool                      // another process began it, and its task may have been reported
}

// id returns the clone's id.
func (c *cloning) id() string {
	return spec.VMID(c.s.cfg.ID, c.want.Owner, c.want.Namespace, c.want.Name)
}

// run makes the clone, and records it as complete when no work remains.
func (c *cloning) run(ctx context.Context) error {
	c.snapshot = c.snapshotName(1)
	vm, err := c.makeLocked(ctx)
	if err != nil {
		return err
	}
	return c.s.markComplete(ctx, vm)
}

// makeLocked makes the clone under its lock.
func (c *cloning) makeLocked(ctx context.Context) (vm truenas.VM, err error) {
	id := c.id()
	release, err := c.reserve(ctx, id)
	if err != nil {
		return vm, err
	}
	defer func() { err = errors.Join(err, release()) }()
	seen, err := c.s.observe(ctx, c.want, id)
	if err != nil {
		return vm, err
	}
	p, err := c.s.planWith(c.want, id, seen, c.planDisks)
	if err == nil {
		err = cmp.Or(c.s.checkEncrypted(ctx, p.class, c.shared()), hardware.Fit(ctx, c.s.nas, p.class, p.existing))
	}
	if err == nil {
		err = c.s.fitDevices(ctx, p)
	}
	if err != nil {
		return vm, err
	}
	switch {
	case c.resumed && p.existing == nil:
		return vm, refusal.FailedPrecondition("VM %q was deleted before its copy was complete", c.want.Name)
	case c.resumed && !p.resumed:
		return *p.existing, nil // Another process has completed the clone.
	}
	if !c.linked {
		p.begun, p.progress = c.work.Begin, c.progress
	}
	return c.make(ctx, p)
}

// shared returns the volumes whose blocks the clone shares. A full copy takes its encryption from the dataset that holds it.
func (c *cloning) shared() []string {
	if !c.linked {
		return nil
	}
	return vmrecord.Disks(c.source)
}

// reserve locks the clone in this process, and keeps other replicas from a full clone in progress: a new attempt discards the
// incomplete copies of an earlier one, and must not discard a copy in progress.
func (c *cloning) reserve(ctx context.Context, id string) (release func() error, err error) {
	if c.linked {
		unlock, err := c.s.locks.Lock(ctx, id)
		return func() error { unlock(); return nil }, err
	}
	unlock, err := c.s.locks.LockLong(ctx, id, unfinished(c.want.Name))
	if err != nil {
		return nil, err
	}
	free, err := c.s.leases.LockVM(ctx, c.s.layout.VMDataset(c.want.Pool, c.want.OnNAS()), "its disks are being copied")
	if err != nil {
		unlock()
		return nil, err
	}
	return func() error { defer unlock(); return free() }, nil
}

// planDisks plans one disk of the clone for each disk of the source.
func (c *cloning) planDisks(p *plan, _ spec.VM, seen *observation) error {
	p.inherits = &c.source
	if err := c.s.onOnePool(c.source, "a clone of the VM"); err != nil {
		return err
	}
	if err := hardware.RefuseHostDevices(c.source, c.want.Class.Hardware); err != nil {
		return err
	}
	copied := map[string]string{} // the volume of the source, by its name in the clone
	for i, volume := range c.disks() {
		if spec.PoolOf(volume) != spec.PoolOf(p.dataset) && c.linked {
			return refusal.FailedPrecondition("placement_json.Datastore: a linked clone cannot leave pool %q; request a full clone", spec.PoolOf(volume))
		}
		name := baseName(volume)
		if i == 0 {
			name = spec.RootDisk
		}
		if other, taken := copied[name]; taken {
			return refusal.FailedPrecondition("source_vm_id: the disks %s and %s of VM %q would both be disk %s of the clone; detach one of them", other, volume, vmrecord.Name(c.source), name)
		}
		copied[name] = volume
		d := p.seenDisk(plannedDisk{at: "source_vm_id", order: hardware.OrderRoot + i, volume: p.dataset + "/" + name}, seen)
		if c.linked {
			d.clone = volume + "@" + c.snapshot
		} else {
			d.copy = volume + "@" + c.snapshot
		}
		p.disks = append(p.disks, d)
	}
	return nil
}

// make takes the snapshot, builds the VM and removes the temporary objects.
func (c *cloning) make(ctx context.Context, p *plan) (vm truenas.VM, err error) {
	trees, err := c.s.marks.Trees(c.source)
	if err != nil {
		return vm, err
	}
	if p.existing != nil && len(p.missing()) == 0 && c.seeded(p) && !p.duplicateNICs() && vmrecord.InOrder(*p.existing, p.volumes()) {
		return *p.existing, c.removeSnapshots(ctx, p, trees)
	}
	if len(trees) > 1 && vmrecord.Active(c.source) {
		return vm, refusal.Faultf(refusal.ErrSourceRunning, "source_vm_id: VM %q is on, and TrueNAS cannot snapshot its disks, which lie in %d datasets, at one moment; power it off first", vmrecord.Name(c.source), len(trees))
	}
	if seedPathOf(c.source) != "" {
		if err := c.s.needUpload("source_vm_id: the seed of its VM"); err != nil {
			return vm, err
		}
	}
	if p.seed, err = c.seed(ctx, p); err != nil {
		return vm, err
	}
	p.placeSeed(nil)
	if err := c.take(ctx, p, trees); err != nil {
		return vm, err
	}
	if vm, err = c.s.converge(ctx, p); err != nil {
		return vm, errors.Join(err, c.removeFailed(ctx, p, trees, err))
	}
	return vm, c.removeSnapshots(ctx, p, trees)
}

// seeded reports whether the clone has its seed, or needs none.
func (c *cloning) seeded(p *plan) bool {
	_, ok := p.seedDrive()
	return ok || !c.wantsSeed()
}

// removeSnapshots removes the snapshots of a full clone, on the source and on the clone. A linked clone depends on its snapshots, which are
// removed with it.
func (c *cloning) removeSnapshots(ctx context.Context, p *plan, trees []string) error {
	if c.linked {
		return nil
	}
	for _, d := range p.disks {
		if err := destroy.Snapshot(ctx, c.s.nas, d.volume+"@"+c.snapshot); err != nil {
			return err
		}
	}
	return c.dropSource(ctx, trees)
}

// removeFailed removes the objects of a clone that can never be complete. The objects of this attempt are gone by then.
func (c *cloning) removeFailed(ctx context.Context, p *plan, trees []string, cause error) error {
	if isRetryable(cause) || p.exists && !p.resumed {
		return nil
	}
	ctx, cancel := c.s.leases.Undoing(ctx)
	defer cancel()
	if p.resumed {
		r, err := c.s.removal(ctx, p.id)
		if err == nil {
			err = c.s.remove(ctx, r)
		}
		if err != nil {
			return err
		}
		c.s.inventory.Invalidate(p.id)
	}
	return c.dropSource(ctx, trees)
}

func (c *cloning) dropSource(ctx context.Context, trees []string) error {
	for _, tree := range trees {
		if err := destroy.SnapshotsNamed(ctx, c.s.nas, tree, c.snapshot); err != nil {
			return err
		}
	}
	return nil
}
