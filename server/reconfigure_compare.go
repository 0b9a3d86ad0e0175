package server

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// changes are the differences between a VM and its desired state.
type changes struct {
	update  truenas.VMUpdate
	record  bool                               // update is not empty, or the tags differ
	tags    *[]string                          // the tags in the description; nil: unchanged
	devices map[int64]truenas.DeviceAttributes // NICs and disks, by the device's id
	volumes map[string]truenas.DatasetUpdate   // by volume
	add     []plannedDisk
	attach  []hardware.Device
	drop    []truenas.Device
	offline string // the change that needs the VM to be off, for users; "" for none

	places     []place           // the datasets for additional disks on other pools
	mark       spec.Mark         // the mark of home, when there are places
	recorded   map[string]string // the user properties of home, likewise
	home       string            // the dataset of the VM's other additional disks
	recordable bool              // home can record the run of the VM
	boot       boot              // the run of the VM, with the settings at its start
	pending    bool              // an earlier change has not taken effect yet
}

func (c *changes) none() bool {
	return !c.record && len(c.devices) == 0 && len(c.volumes) == 0 && len(c.add) == 0 && len(c.attach) == 0 && len(c.drop) == 0
}

// comparison compares one VM with its desired state.
type comparison struct {
	s    *Server
	vm   truenas.VM
	want spec.VM
	changes

	datasets map[string]truenas.Dataset // the VM's volumes, its datasets and its pools
}

// compare finds the necessary changes and refuses a change that is not possible.
func (s *Server) compare(ctx context.Context, vm truenas.VM, want spec.VM) (*changes, error) {
	c := &comparison{s: s, vm: vm, want: want, changes: changes{home: s.home(vm)}}
	c.devices, c.volumes = map[int64]truenas.DeviceAttributes{}, map[string]truenas.DatasetUpdate{}
	if err := c.compareClass(); err != nil {
		return nil, err
	}
	var g errgroup.Group
	g.Go(func() error { return hardware.Fit(ctx, s.nas, want.Class, &vm) })
	g.Go(func() error { return s.checkEncrypted(ctx, want.Class, vmrecord.Disks(vm)) })
	g.Go(func() (err error) { c.datasets, err = c.observe(ctx); return })
	g.Go(func() error { return c.compareNICs(ctx) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, compare := range []func() error{c.comparePlace, c.compareTags, c.comparePlaces, c.compareDisks, c.checkSpace} {
		if err := compare(); err != nil {
			return nil, err
		}
	}
	if err := c.compareDevices(ctx); err != nil {
		return nil, err
	}
	c.compareBoot()
	return &c.changes, c.compareSettings(ctx)
}

// observe reads the VM's volumes, its datasets and its pools.
func (c *comparison) observe(ctx context.Context) (map[string]truenas.Dataset, error) {
	ids := append(slices.Clone(vmrecord.Disks(c.vm)), spec.PoolOf(c.home), c.home)
	for _, volume := range vmrecord.Disks(c.vm) {
		ids = append(ids, spec.PoolOf(volume), c.s.layout.DisksDataset(c.home, spec.PoolOf(volume)))
	}
	for _, d := range c.want.Disks {
		dataset := c.s.layout.DisksDataset(c.home, d.Pool)
		ids = append(ids, dataset+"/"+d.Volume)
		if dataset != c.home {
			ids = append(ids, d.Pool, c.s.layout.Root(d.Pool), dataset)
		}
	}
	if c.want.Pool != "" {
		ids = append(ids, c.s.layout.VMDataset(c.want.Pool, c.s.marks.OnNAS(c.vm)))
	}
	list, err := c.s.nas.Datasets.List(ctx, truenas.Cond("id", "in", ids))
	found := make(map[string]truenas.Dataset, len(list))
	for _, d := range list {
		found[d.ID] = d
		if d.ID == c.s.layout.Root(spec.PoolOf(d.ID)) {
			c.s.claims.Note(d)
		}
	}
	return found, err
}

// comparePlaces plans the datasets for additional disks on other pools.
func (c *comparison) comparePlaces() error {
	if home := c.datasets[c.home].LocalUserProperties[spec.PropHome]; home != "" {
		return refusal.FailedPrecondition("VM %q lacks its root disk in %s: attach it, and repeat the change", vmrecord.Name(c.vm), home)
	}
	for i, d := range c.want.Disks {
		dataset := c.s.layout.DisksDataset(c.home, d.Pool)
		if dataset == c.home || slices.ContainsFunc(c.places, func(b place) bool { return b.dataset == dataset }) {
			continue
		}
		field := fmt.Sprintf("desired_json.Disks[%d].StorageClass", i)
		m, ours := c.s.marks.InDataset(c.datasets[c.home])
		switch {
		case !ours:
			return refusal.FailedPrecondition("%s: dataset %s does not carry the user properties virtrigaud:* of VM %q, which a disk on another pool needs", field, c.home, vmrecord.Name(c.vm))
		case c.s.layout.RootVolume(vmrecord.Disks(c.vm)) != c.home+"/"+spec.RootDisk:
			return refusePlace(field, d.Pool, c.home)
		}
		exists, err := c.s.checkPlace(field, c.home, dataset, m, c.want.Class, c.datasets)
		if err != nil {
			return err
		}
		if err := c.allThere(field, exists); err != nil {
			return err
		}
		c.places, c.mark, c.recorded = append(c.places, place{dataset, exists}), m, c.datasets[c.home].LocalUserProperties
	}
	return nil
}

// allThere refuses the first disk on another pool for a VM with a missing disk, as during an interrupted SnapshotRevert, which
// could not be repeated afterwards.
func (c *comparison) allThere(field string, exists bool) error {
	for _, volume := range vmrecord.Disks(c.vm) {
		if _, there := c.datasets[volume]; !there && !exists {
			return refusal.FailedPrecondition("%s: disk %s of VM %q is not on the NAS; repeat the SnapshotRevert that was interrupted, or detach the disk", field, volume, vmrecord.Name(c.vm))
		}
	}
	return nil
}

func (c *comparison) compareClass() error {
	vm, class, name := c.vm, c.want.Class, vmrecord.Name(c.vm)
	p := plan{class: class}
	switch {
	case vm.Bootloader != p.bootloader():
		return refusal.FailedPrecondition("desired_json.Class.Firmware: VM %q has %s; it cannot be changed", name, vm.Bootloader)
	case vm.SecureBoot != class.SecureBoot:
		return refusal.FailedPrecondition("desired_json.Class.SecurityProfile.SecureBoot: VM %q has %t; it cannot be changed", name, vm.SecureBoot)
	case vm.TPM != class.TPM:
		return refusal.FailedPrecondition("desired_json.Class.SecurityProfile.TPMEnabled: VM %q has %t; it cannot be changed", name, vm.TPM)
	}
	if class.MemoryMiB != vm.MemoryMiB {
		c.update.MemoryMiB, c.record, c.offline = &class.MemoryMiB, true, "the memory"
	}
	if class.CPUs != vmrecord.CPUs(vm) {
		c.record, c.offline = true, "the number of CPUs"
		hardware.Arrange(&c.update, class)
	}
	return c.compareHardware()
}

// compareHardware compares the hardware settings of the class.
func (c *comparison) compareHardware() error {
	vm, class := c.vm, c.want.Class
	if err := hardware.OtherMachine(vm, class); err != nil {
		return err
	}
	if hardware.Rearranged(vm, class) {
		c.record, c.offline = true, "the arrangement of the CPUs"
		hardware.Arrange(&c.update, class)
	}
	if list := hardware.Compare(vm, class, &c.update.VMHardware); len(list) > 0 {
		c.record, c.offline = true, list[0].Field
	}
	if timeout := int(class.Hardware.ShutdownTimeout); timeout != 0 && timeout != vm.ShutdownTimeout {
		c.update.ShutdownTimeout, c.record = &timeout, true
	}
	return nil
}

// comparePlace accepts the pool of any of the VM's disks and that of its dataset: an imported root disk
// may lie on another pool.
func (c *comparison) comparePlace() error {
	pool := c.want.Pool
	if pool == "" {
		return nil
	}
	if d, ok := c.datasets[c.s.layout.VMDataset(pool, c.s.marks.OnNAS(c.vm))]; ok && !ownership.IsPlace(d) {
		return nil
	}
	volumes := slices.DeleteFunc(vmrecord.Disks(c.vm), func(volume string) bool {
		return ownership.IsPlace(c.datasets[c.s.layout.DisksDataset(c.home, spec.PoolOf(volume))])
	})
	if slices.ContainsFunc(volumes, func(v string) bool { return spec.PoolOf(v) == pool }) || len(volumes) == 0 {
		return nil
	}
	return refusal.FailedPrecondition("desired_json.Placement.Datastore: the disks of VM %q are on pool %q, not on %q; a VM does not move between pools", vmrecord.Name(c.vm), spec.PoolOf(volumes[0]), pool)
}

// compareTags compares the tags, which follow the text for users in the VM's description. Null requests nothing; an empty list
// removes them.
func (c *comparison) compareTags() error {
	if c.want.Tags == nil {
		return nil
	}
	m, ours := c.s.marks.Of(c.vm)
	switch {
	case slices.Equal(m.Tags, c.want.Tags) || len(m.Tags) == 0 && len(c.want.Tags) == 0:
		return nil
	case !ours:
		return refusal.FailedPrecondition("desired_json.Tags: VM %q was not made by this provider; its description is not changed", vmrecord.Name(c.vm))
	}
	c.tags, c.record = &c.want.Tags, true
	return nil
}

// needsOff records a change that TrueNAS applies at the next start only.
func (c *comparison) needsOff(format string, args ...any) { c.offline = fmt.Sprintf(format, args...) }
