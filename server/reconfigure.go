package server

import (
	"context"
	"encoding/json"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
)

// desiredJSON is a VM as the manager wants it: everything, though only a change of CPUs or
// memory makes it ask.
type desiredJSON struct {
	Name      string
	Class     json.RawMessage
	Image     json.RawMessage // what the root disk was made from; it is made once
	Networks  json.RawMessage
	Disks     json.RawMessage
	UserData  json.RawMessage // read by the guest at its first start only
	MetaData  json.RawMessage // likewise
	Placement json.RawMessage
	Tags      []string

	TargetHostID string        // of a provider that drives several hosts
	Owner        *identityJSON // managers of line 0.4 and later send it always
}

// changes are what a VM lacks of what is desired.
type changes struct {
	update  truenas.VMUpdate
	record  bool // update holds something
	grow    map[string]int64
	add     []plannedDisk
	summary string // of the first one, for people
}

func (c *changes) none() bool { return !c.record && len(c.grow) == 0 && len(c.add) == 0 }

// Reconfigure gives a VM that is off its CPUs, memory and disks. TrueNAS has no hotplug: of a VM
// that runs, a change would be recorded and take effect at the next start, and the manager would
// believe it done; so it is refused until the VM is off. Disks grow and are added; nothing
// shrinks and nothing is taken away.
func (s *Server) Reconfigure(ctx context.Context, req *providerv1.ReconfigureRequest) (*providerv1.TaskResponse, error) {
	want, err := parseDesired(req.GetDesiredJson())
	if err != nil {
		return nil, err
	}
	vm, unlock, err := s.own(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	defer unlock()
	c, err := s.compare(ctx, vm, want)
	if err != nil || c.none() {
		return &providerv1.TaskResponse{}, err
	}
	if active(vm) {
		return nil, conflict("%s can change only while VM %q is off: TrueNAS applies it at the next start. Power it off, and the change is made", c.summary, displayName(vm))
	}
	before := s.inventory.mark()
	if err := s.apply(ctx, vm, c); err != nil {
		return nil, err
	}
	root := s.layout.rootOf(vm)
	if vm, err = s.nas.VMs.Get(ctx, vm.ID); err != nil {
		return nil, err
	}
	if vm, err = putInOrder(ctx, s.nas, vm, root); err != nil {
		return nil, err
	}
	s.inventory.put(vm, before)
	for _, d := range c.add {
		if !slices.Contains(disksOf(vm), d.volume) {
			return nil, aborted("disk %s was not attached to VM %q; the next Reconfigure does it", path.Base(d.volume), displayName(vm))
		}
	}
	return &providerv1.TaskResponse{}, nil
}

func parseDesired(text string) (spec, error) {
	const field = "desired_json"
	var j desiredJSON
	if text == "" {
		return spec{}, invalid(field, "must be given")
	}
	if err := decodeJSON(field, text, &j); err != nil {
		return spec{}, err
	}
	if j.TargetHostID != "" {
		return spec{}, invalid(field+".TargetHostID", "%q: %s", j.TargetHostID, noHosts)
	}
	var want spec
	var err error
	if want.class, err = parseClass(string(j.Class)); err != nil {
		return want, err
	}
	if want.networks, err = parseNetworks(field+".Networks", string(j.Networks)); err != nil {
		return want, err
	}
	want.disks, err = parseDisks(field+".Disks", string(j.Disks))
	return want, err
}

// compare holds a VM against what is desired and refuses what cannot be changed.
func (s *Server) compare(ctx context.Context, vm truenas.VM, want spec) (*changes, error) {
	p := plan{class: want.class}
	switch {
	case vm.Bootloader != p.bootloader():
		return nil, conflict("desired_json.Class.Firmware: VM %q has %s; it cannot be changed", displayName(vm), vm.Bootloader)
	case vm.SecureBoot != want.class.secureBoot:
		return nil, conflict("desired_json.Class.SecurityProfile.SecureBoot: VM %q has %t; it cannot be changed", displayName(vm), vm.SecureBoot)
	case vm.TPM != want.class.tpm:
		return nil, conflict("desired_json.Class.SecurityProfile.TPMEnabled: VM %q has %t; it cannot be changed", displayName(vm), vm.TPM)
	case len(macs(vm)) != len(want.networks):
		return nil, conflict("desired_json.Networks: VM %q has %d NICs, %d are desired; they cannot be changed", displayName(vm), len(macs(vm)), len(want.networks))
	}
	c := &changes{grow: map[string]int64{}}
	if want.class.memoryMiB != vm.MemoryMiB {
		c.update.MemoryMiB, c.record, c.summary = &want.class.memoryMiB, true, "the memory"
	}
	if one := 1; want.class.cpus != cpus(vm) {
		c.update.VCPUs, c.update.Cores, c.update.Threads, c.record, c.summary = &one, &want.class.cpus, &one, true, "the number of CPUs"
	}
	return c, s.compareDisks(ctx, vm, want, c)
}

func (s *Server) compareDisks(ctx context.Context, vm truenas.VM, want spec, c *changes) error {
	volumes := disksOf(vm)
	if len(volumes) == 0 {
		return conflict("VM %q has no disks", displayName(vm))
	}
	dataset := s.home(vm)
	list, err := s.nas.Datasets.List(ctx, truenas.Cond("id", "in", append(slices.Clone(volumes), poolOf(dataset))))
	if err != nil {
		return err
	}
	has := map[string]int64{}
	for _, d := range list {
		has[d.ID] = d.VolsizeBytes
	}
	root := s.layout.rootOf(vm)
	if err := c.size("desired_json.Class.DiskDefaults.SizeGiB", root, has[root], want.class.rootGiB*gib); err != nil {
		return err
	}
	known := map[string]bool{root: true}
	for i, d := range want.disks {
		volume := dataset + "/" + d.volume
		known[volume] = true
		if !slices.Contains(volumes, volume) {
			if !s.ours(vm) {
				return conflict("desired_json.Disks[%s]: VM %q was not made by this provider, which adds no disks to it", d.name, displayName(vm))
			}
			c.add = append(c.add, plannedDisk{order: orderDisk + i, volume: volume, bytes: d.sizeGiB * gib, thick: d.thick})
			c.summary = "the list of disks"
			continue
		}
		if err := c.size("desired_json.Disks["+d.name+"].SizeGiB", volume, has[volume], d.sizeGiB*gib); err != nil {
			return err
		}
	}
	for _, volume := range volumes {
		if !known[volume] {
			return conflict("desired_json.Disks: VM %q has the disk %s; a disk is never taken away, since its data would be lost", displayName(vm), path.Base(volume))
		}
	}
	return c.fit(list, poolOf(dataset))
}

// size plans growth. Zero means that nothing was said about the size.
func (c *changes) size(field, volume string, has, want int64) error {
	switch {
	case want == 0 || want == has:
		return nil
	case want < has:
		return conflict("%s: disk %s has %d GiB and cannot shrink to %d GiB", field, path.Base(volume), has/gib, want/gib)
	}
	c.grow[volume], c.summary = want, "the size of disk "+path.Base(volume)
	return nil
}

// fit holds new and growing disks against the space of the pool.
func (c *changes) fit(list []truenas.Dataset, pool string) error {
	i := slices.IndexFunc(list, func(d truenas.Dataset) bool { return d.ID == pool })
	if i < 0 {
		return conflict("the NAS has no pool %q", pool)
	}
	limit := list[i].AvailableBytes / 100 * maxVolumePercent
	for _, d := range c.add {
		if d.bytes > limit {
			return noSpace("desired_json.Disks", d.bytes, list[i])
		}
	}
	for _, bytes := range c.grow {
		if bytes > limit {
			return noSpace("desired_json", bytes, list[i])
		}
	}
	return nil
}

// home is the dataset that holds a VM's additional disks: where its own first one lies, or where
// Create would have put it.
func (s *Server) home(vm truenas.VM) string {
	for _, volume := range disksOf(vm) {
		if tree, ok := s.ownTreeOf(vm, volume); ok {
			if _, imported := s.layout.importOf(volume); !imported {
				return tree
			}
		}
	}
	return s.layout.machine("", displayName(vm))
}

// apply makes the changes side by side; each of them may be made again.
func (s *Server) apply(ctx context.Context, vm truenas.VM, c *changes) error {
	var g errgroup.Group
	if c.record {
		g.Go(func() error {
			_, err := s.nas.VMs.Update(ctx, vm.ID, c.update)
			return err
		})
	}
	for volume, bytes := range c.grow {
		g.Go(func() error {
			_, err := s.nas.Datasets.Update(ctx, volume, truenas.DatasetUpdate{VolsizeBytes: &bytes})
			return err
		})
	}
	b := &builder{nas: s.nas, plan: &plan{existing: &vm}, vm: vm}
	for _, d := range c.add {
		g.Go(func() error { return b.ensureDisk(ctx, d) })
	}
	return g.Wait()
}
