package server

import (
	"context"
	"errors"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
)

// Clone makes a VM of another one's disks as they are at this moment: a linked one shares their
// blocks, a full one copies them. It gets an identity of its own (UUID, MAC addresses, a seed
// with its host name), and is left off. The source may run; the copy is then what a power cut
// would leave. Like Create it converges: asked again, it completes what is there.
func (s *Server) Clone(ctx context.Context, req *providerv1.CloneRequest) (resp *providerv1.CloneResponse, err error) {
	source, err := s.current(ctx, req.GetSourceVmId())
	if err != nil {
		return nil, err
	}
	c := &cloning{s: s, source: source, linked: req.GetLinked()}
	if err := c.parse(req); err != nil {
		return nil, err
	}
	c.snapshot = c.snapshotName(1)
	id := machineID(s.cfg.ID, c.want.owner, c.want.name)
	unlock, err := s.locks.lock(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	release, err := c.reserve(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	seen, err := s.observe(ctx, c.want, id)
	if err != nil {
		return nil, err
	}
	p, err := s.planWith(c.want, id, seen, c.planDisks)
	if err != nil {
		return nil, err
	}
	if err := c.make(ctx, p); err != nil {
		return nil, err
	}
	return &providerv1.CloneResponse{TargetVmId: id}, nil
}

// cloning is one Clone.
type cloning struct {
	s      *Server
	source truenas.VM
	linked bool
	want   spec
	host   string // the clone's host name

	snapshot string // the name of the snapshot that the clone is made from
}

// reserve keeps other replicas from a full clone that is being made: what an attempt has left half
// copied is thrown away, which must not happen to what is on its way.
func (c *cloning) reserve(ctx context.Context) (release func() error, err error) {
	switch {
	case c.linked:
		return func() error { return nil }, nil
	case !c.s.nas.Release().AtLeast(truenas.R25_10):
		return nil, conflict("linked: a full clone needs TrueNAS 25.10 or later; ask for a linked one")
	}
	return c.s.alone(ctx, c.s.layout.machine(c.want.pool, c.want.name), "its disks are being copied")
}

// planDisks gives the clone a disk for every one of the source.
func (c *cloning) planDisks(p *plan, _ spec, seen *observation) error {
	for i, volume := range disksOf(c.source) {
		if poolOf(volume) != poolOf(p.dataset) && c.linked {
			return conflict("placement_json.Datastore: a linked clone cannot leave pool %q; ask for a full one", poolOf(volume))
		}
		name := baseName(volume)
		if i == 0 {
			name = rootDisk
		}
		d := p.seenDisk(plannedDisk{at: "source_vm_id", order: orderRoot + i, volume: p.dataset + "/" + name}, seen)
		if c.linked {
			d.clone = volume + "@" + c.snapshot
		} else {
			d.copy = volume + "@" + c.snapshot
		}
		p.disks = append(p.disks, d)
	}
	return nil
}

// make takes the snapshot, builds the VM and drops what was needed only for that.
func (c *cloning) make(ctx context.Context, p *plan) error {
	trees, err := c.s.trees(c.source)
	if err != nil {
		return err
	}
	if p.existing != nil && len(p.missing()) == 0 && c.seeded(p) && !p.twins() {
		return c.tidy(ctx, p, trees)
	}
	if len(trees) > 1 && active(c.source) {
		return conflict("source_vm_id: the disks of VM %q lie in %d datasets, so a copy of them is of one moment only while the VM is off", displayName(c.source), len(trees))
	}
	if seedPathOf(c.source) != "" {
		if err := c.s.needUpload("source_vm_id: the seed of its VM"); err != nil {
			return err
		}
	}
	if p.seed, err = c.seed(ctx, p); err != nil {
		return err
	}
	p.placeSeed(nil)
	if err := c.take(ctx, p, trees); err != nil {
		return err
	}
	if _, err := c.s.converge(ctx, p); err != nil {
		return errors.Join(err, c.giveUp(ctx, p, trees, err))
	}
	return c.tidy(ctx, p, trees)
}

// seeded says whether the clone has its seed, or needs none.
func (c *cloning) seeded(p *plan) bool {
	_, ok := p.seedDrive()
	return ok || !c.wantsSeed()
}

// tidy removes the snapshots of a full clone, at both ends. Those of a linked one are what it
// hangs on; they go with it.
func (c *cloning) tidy(ctx context.Context, p *plan, trees []string) error {
	if c.linked {
		return nil
	}
	for _, d := range p.disks {
		if err := c.s.dropSnapshot(ctx, d.volume+"@"+c.snapshot, false); err != nil {
			return err
		}
	}
	return c.dropSource(ctx, trees)
}

// giveUp removes the source's snapshot when the clone can never be made.
func (c *cloning) giveUp(ctx context.Context, p *plan, trees []string, cause error) error {
	if passing(cause) || p.exists {
		return nil
	}
	ctx, cancel := c.s.undoing(ctx)
	defer cancel()
	return c.dropSource(ctx, trees)
}

func (c *cloning) dropSource(ctx context.Context, trees []string) error {
	for _, tree := range trees {
		if err := c.s.dropSnapshot(ctx, tree+"@"+c.snapshot, true); err != nil {
			return err
		}
	}
	return nil
}

// dropSnapshot removes a snapshot of ours; one that is not there is done.
func (s *Server) dropSnapshot(ctx context.Context, id string, recursive bool) error {
	return deleteSnapshot(ctx, s.nas, id, truenas.SnapshotDelete{Recursive: recursive})
}
