package server

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/truenas"
)

// observation is what the NAS has of what a Create is about, read in one round trip.
type observation struct {
	vms        []truenas.VM // of this name or this id; all of them when the request names a volume or a MAC address
	datasets   map[string]truenas.Dataset
	snapshot   *truenas.Snapshot // the image, when there is one to clone
	attach     map[string]bool   // what a NIC may be attached to
	interfaces []truenas.Interface
}

// hasRoot says whether the VM's root disk is there, so that its image is not needed any more.
func (o *observation) hasRoot(machine string) bool {
	_, ok := o.datasets[machine+"/"+rootDisk]
	return ok
}

// observe asks everything side by side.
func (s *Server) observe(ctx context.Context, want spec, id string) (*observation, error) {
	var seen observation
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { seen.vms, err = s.observeVMs(ctx, want, id); return })
	g.Go(func() (err error) { seen.datasets, err = s.observeDatasets(ctx, want); return })
	if want.image.kind == imageClone {
		g.Go(func() (err error) { seen.snapshot, err = s.observeSnapshot(ctx, want.image.snap); return })
	}
	if len(want.networks) > 0 {
		g.Go(func() (err error) { seen.attach, err = s.observeAttach(ctx); return })
	}
	if tagged(want.networks) {
		g.Go(func() (err error) { seen.interfaces, err = s.nas.System.Interfaces(ctx); return })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return &seen, nil
}

func (s *Server) observeVMs(ctx context.Context, want spec, id string) ([]truenas.VM, error) {
	if want.image.byPath() || asksMAC(want.networks) {
		return s.nas.VMs.List(ctx) // Another VM may use the volume or the address.
	}
	names := []truenas.Filter{truenas.Where("name", want.onNAS()), truenas.Where("uuid", id)}
	if want.namespace != "" {
		names = append(names, truenas.Where("name", nasName(want.name)))
	}
	return s.nas.VMs.List(ctx, truenas.AnyOf(names...))
}

// observeDatasets reads the VM's dataset and what is in it, the image's volume and the pools.
func (s *Server) observeDatasets(ctx context.Context, want spec) (map[string]truenas.Dataset, error) {
	root := s.layout.root(want.pool)
	machine := s.layout.machine(want.pool, want.onNAS())
	filters := []truenas.Filter{
		truenas.Where("id", poolOf(root)), truenas.Where("id", root), truenas.Where("id", machine),
		truenas.Cond("id", "^", machine+"/"),
	}
	if want.namespace != "" {
		filters = append(filters, truenas.Where("id", s.layout.machine(want.pool, nasName(want.name))))
	}
	if want.image.volume != "" {
		filters = append(filters, truenas.Where("id", want.image.volume))
	}
	if want.image.prepared != nil {
		filters = append(filters, truenas.Where("id", want.image.prepared.dataset()))
	}
	list, err := s.nas.Datasets.List(ctx, truenas.AnyOf(filters...))
	if err != nil {
		return nil, err
	}
	found := make(map[string]truenas.Dataset, len(list))
	for _, d := range list {
		if d.ID == root {
			s.claims.set(root, s.judgeRoot(d))
		}
		found[d.ID] = d
	}
	return found, nil
}

func (s *Server) observeSnapshot(ctx context.Context, id string) (*truenas.Snapshot, error) {
	snapshot, err := s.nas.Snapshots.Get(ctx, id)
	if errors.Is(err, truenas.ErrNotFound) {
		return nil, nil
	}
	return &snapshot, err
}

func (s *Server) observeAttach(ctx context.Context) (map[string]bool, error) {
	choices, err := s.nas.Devices.NICAttachChoices(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(choices))
	for _, c := range choices {
		names[c.Name] = true
	}
	return names, nil
}

func asksMAC(networks []network) bool {
	return slices.ContainsFunc(networks, func(n network) bool { return n.mac != "" })
}

func tagged(networks []network) bool {
	for _, n := range networks {
		if n.vlan != 0 {
			return true
		}
	}
	return false
}
