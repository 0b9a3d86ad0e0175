package server

import (
	"context"

	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// observation is the state of the NAS that a Create depends on, read in one round trip.
type observation struct {
	vms        []truenas.VM // with this name or id, and those that use a volume or a MAC address of the request
	datasets   map[string]truenas.Dataset
	snapshot   *truenas.Snapshot // the image, when the request has one to clone
	attach     map[string]bool   // the bridges and interfaces for NICs
	interfaces []truenas.Interface
}

// hasRoot reports whether the VM's root disk exists, so that the VM needs no image any more.
func (o *observation) hasRoot(machine string) bool {
	_, ok := o.datasets[machine+"/"+spec.RootDisk]
	return ok
}

// observe makes all queries in parallel.
func (s *Server) observe(ctx context.Context, want spec.VM, id string) (*observation, error) {
	var seen observation
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { seen.vms, err = s.observeVMs(ctx, want, id); return })
	g.Go(func() (err error) { seen.datasets, err = s.observeDatasets(ctx, want); return })
	if want.Image.Kind == spec.ImageClone {
		g.Go(func() (err error) { seen.snapshot, err = landing.FindSnapshot(ctx, s.nas, want.Image.Snapshot); return })
	}
	if len(want.Networks) > 0 {
		g.Go(func() (err error) { seen.attach, err = s.observeAttach(ctx); return })
	}
	if tagged(want.Networks) {
		g.Go(func() (err error) { seen.interfaces, err = s.nas.System.Interfaces(ctx); return })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return &seen, nil
}

func (s *Server) observeVMs(ctx context.Context, want spec.VM, id string) ([]truenas.VM, error) {
	concerned := []truenas.Filter{truenas.Where("name", want.OnNAS()), truenas.Where("uuid", id)}
	if want.Namespace != "" {
		concerned = append(concerned, truenas.Where("name", spec.NASName(want.Name)))
	}
	if want.Image.ByPath() {
		concerned = append(concerned, vmrecord.UsesOf(want.Image.Volume)...)
	}
	for _, n := range want.Networks {
		if n.MAC != "" {
			concerned = append(concerned, vmrecord.WithMAC(n.MAC))
		}
	}
	return s.nas.VMs.List(ctx, truenas.AnyOf(concerned...))
}

// observeDatasets reads the VM's dataset and its descendants, the image's volume and the pools.
func (s *Server) observeDatasets(ctx context.Context, want spec.VM) (map[string]truenas.Dataset, error) {
	root := s.layout.Root(want.Pool)
	machine := s.layout.VMDataset(want.Pool, want.OnNAS())
	filters := []truenas.Filter{
		truenas.Where("id", spec.PoolOf(root)), truenas.Where("id", root), truenas.Where("id", machine),
		truenas.Cond("id", "^", machine+"/"),
	}
	if want.Namespace != "" {
		filters = append(filters, truenas.Where("id", s.layout.VMDataset(want.Pool, spec.NASName(want.Name))))
	}
	for _, d := range want.Disks {
		if beside := s.layout.DisksDataset(machine, d.Pool); beside != machine {
			filters = append(filters, truenas.Where("id", d.Pool), truenas.Where("id", s.layout.Root(d.Pool)), truenas.Where("id", beside), truenas.Cond("id", "^", beside+"/"))
		}
	}
	if want.Image.Volume != "" {
		filters = append(filters, truenas.Where("id", want.Image.Volume))
	}
	if want.Image.Prepared != nil {
		filters = append(filters, truenas.Where("id", want.Image.Prepared.Dataset()))
	}
	list, err := s.nas.Datasets.List(ctx, truenas.AnyOf(filters...))
	if err != nil {
		return nil, err
	}
	found := make(map[string]truenas.Dataset, len(list))
	for _, d := range list {
		if d.ID == s.layout.Root(spec.PoolOf(d.ID)) {
			s.claims.Note(d)
		}
		found[d.ID] = d
	}
	return found, nil
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

func tagged(networks []spec.Network) bool {
	for _, n := range networks {
		if n.VLAN != 0 {
			return true
		}
	}
	return false
}

// observeNamed observes the VM under the name that it has on the NAS. If the request names a namespace, that name begins with the
// namespace, but a VM may have the plain name. If an older provider made it for the same owner, it keeps that name. If a manager of
// line 0.3 requested it, it records no owner, and may be the VM of this request or of another namespace: observeNamed refuses,
// because taking the VM over could give one tenant the VM of another, and a second VM could be a duplicate.
func (s *Server) observeNamed(ctx context.Context, want *spec.VM, id string) (*observation, error) {
	seen, err := s.observe(ctx, *want, id)
	if err != nil || want.Namespace == "" || s.hasQualified(*want, id, seen) {
		return seen, err
	}
	for _, m := range s.plainMarks(*want, seen) {
		switch {
		case m.ID() == id:
			want.Namespace = m.Namespace
			return s.observe(ctx, *want, id)
		case m.Owner == "" && m.Name == want.Name:
			return nil, refusal.AlreadyExists("VM %q exists and records no owner: VirtRigaud 0.3 made it, for this or another namespace. Adopt it, or delete it first", want.Name)
		}
	}
	return seen, nil
}

// hasQualified reports whether the VM or its dataset has the name with the namespace.
func (s *Server) hasQualified(want spec.VM, id string, seen *observation) bool {
	if d, ok := seen.datasets[s.layout.VMDataset(want.Pool, want.OnNAS())]; ok {
		if m, ok := s.marks.InDataset(d); ok && m.ID() == id {
			return true
		}
	}
	for _, vm := range seen.vms {
		if vm.UUID == id && vm.Name == want.OnNAS() {
			return true
		}
	}
	return false
}

// plainMarks returns the marks of this provider's VM and dataset with the plain name, without a namespace.
func (s *Server) plainMarks(want spec.VM, seen *observation) []spec.Mark {
	plain := spec.NASName(want.Name)
	var marks []spec.Mark
	for _, vm := range seen.vms {
		if m, ok := s.markByName(vm, plain); ok {
			marks = append(marks, m)
		}
	}
	if d, ok := seen.datasets[s.layout.VMDataset(want.Pool, plain)]; ok {
		if m, ok := s.marks.InDataset(d); ok {
			marks = append(marks, m)
		}
	}
	return marks
}

func (s *Server) markByName(vm truenas.VM, name string) (spec.Mark, bool) {
	if vm.Name != name {
		return spec.Mark{}, false
	}
	return s.marks.Of(vm)
}
