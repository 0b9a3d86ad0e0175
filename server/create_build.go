package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/lease"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// seedMode is the seed's file mode. It holds secrets; TrueNAS's hypervisor takes ownership of
// the file when it starts the VM.
const seedMode = 0o600

// builder creates the missing objects of a plan, and records which ones it made.
type builder struct {
	nas  *truenas.Client
	plan *plan

	vm          truenas.VM
	madeVM      bool
	madeDataset bool
	encrypted   bool // the VM's dataset is encrypted

	madePlaces []string // datasets on other pools
}

// build makes the record and the dataset, then all objects that depend on them, in parallel. It waits for all calls after a
// failure, because a canceled change may still take effect on the NAS.
func (b *builder) build(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { return b.ensureVM(ctx) })
	g.Go(func() error { return b.ensureDataset(ctx) })
	if err := g.Wait(); err != nil {
		return err
	}
	if err := b.ensurePlaces(ctx); err != nil {
		return err
	}
	if b.plan.begun != nil {
		b.plan.begun()
	}
	var parts errgroup.Group
	for _, d := range b.plan.disks {
		parts.Go(func() error { return b.ensureDisk(ctx, d) })
	}
	for _, n := range b.plan.nics {
		parts.Go(func() error { return b.ensureNIC(ctx, n) })
	}
	for _, d := range b.plan.devices {
		parts.Go(func() error { return b.ensureDevice(ctx, d) })
	}
	for n, path := range b.plan.cdroms {
		parts.Go(func() error { return b.ensureCDROM(ctx, n, path) })
	}
	if b.plan.seed != nil {
		parts.Go(func() error { return b.ensureSeed(ctx) })
	}
	for _, d := range b.plan.surplus {
		parts.Go(func() error { return destroy.Device(ctx, b.nas, d.ID) })
	}
	if err := parts.Wait(); err != nil || !b.plan.exists {
		return err
	}
	return b.record(ctx, b.plan.requested)
}

func (b *builder) ensureVM(ctx context.Context) error {
	if vm := b.plan.existing; vm != nil {
		b.vm = *vm
		if vmrecord.Active(*vm) {
			return b.adjustVM(ctx)
		}
		return cmp.Or(dropDuplicateRecords(ctx, b.nas, b.plan.duplicates), b.adjustVM(ctx))
	}
	create, err := b.plan.record(ctx, b.nas)
	if err != nil {
		return err
	}
	vm, err := b.nas.VMs.Create(ctx, create)
	if err != nil {
		return cmp.Or(b.refusedRecord(ctx, err), b.createdMeanwhile(err))
	}
	b.vm, b.madeVM = vm, true
	return nil
}

func (b *builder) ensureDataset(ctx context.Context) error {
	if b.plan.exists {
		b.encrypted = b.plan.encrypted
		return b.record(ctx, b.plan.origins())
	}
	made, err := b.makeDataset(ctx, b.plan.dataset, b.plan.properties())
	if err == nil {
		b.madeDataset, b.encrypted = true, made.Encrypted
	}
	return err
}

// ensurePlaces makes the datasets on other pools, after the VM's own dataset has recorded these pools.
func (b *builder) ensurePlaces(ctx context.Context) error {
	for _, p := range b.plan.places {
		if p.exists {
			continue
		}
		props := b.plan.mark.Properties(p.dataset)
		props[spec.PropHome] = b.plan.dataset
		if _, err := b.makeDataset(ctx, p.dataset, props); err != nil {
			return err
		}
		b.madePlaces = append(b.madePlaces, p.dataset)
	}
	return nil
}

// makeDataset makes a dataset for disks of the VM.
func (b *builder) makeDataset(ctx context.Context, dataset string, props map[string]string) (truenas.Dataset, error) {
	create := truenas.DatasetCreate{Name: dataset, CreateAncestors: true, Comments: b.plan.mark.Name, Deduplication: truenas.DeduplicationOff, UserProperties: props}
	for try := 1; ; try++ {
		made, err := b.nas.Datasets.Create(ctx, create)
		if err == nil {
			return made, nil
		}
		// Another client created this dataset, or one above it, at the same moment.
		if !errors.Is(err, truenas.ErrExists) || try == lease.Tries {
			return made, lease.InTheWay(ctx, b.nas, dataset, err)
		}
		switch _, missing := b.nas.Datasets.Get(ctx, dataset); {
		case missing == nil:
			return made, b.createdMeanwhile(err)
		case !errors.Is(missing, truenas.ErrNotFound):
			return made, missing
		}
	}
}

// properties returns the user properties of the VM's dataset.
func (p *plan) properties() map[string]string {
	props := p.mark.Properties(p.dataset)
	maps.Copy(props, p.requested)
	maps.Copy(props, p.origins())
	return props
}

// origins returns the user properties that describe the origin and place of the VM's disks. They are recorded before a disk is
// created: after the removal of the VM's record they alone prove that an imported disk, or a disk on a missing pool, belongs to
// the VM.
func (p *plan) origins() map[string]string {
	props := map[string]string{}
	for _, key := range []string{propImage, propImageSource} {
		if value := p.requested[key]; value != "" {
			props[key] = value
		}
	}
	if p.imported != "" {
		props[spec.PropImport] = p.imported
	}
	if pools := p.pools(); pools != "" {
		props[spec.PropPools] = pools
	}
	return props
}

// record writes the current request to the properties of an existing dataset.
func (b *builder) record(ctx context.Context, requested map[string]string) error {
	props := map[string]string{}
	for key, value := range requested {
		if b.plan.recorded[key] != value {
			props[key] = value
		}
	}
	if len(props) == 0 {
		return nil
	}
	if _, err := b.nas.Datasets.Update(ctx, b.plan.dataset, truenas.DatasetUpdate{SetUserProperties: props}); err != nil {
		return err
	}
	b.plan.recorded = maps.Clone(b.plan.recorded)
	maps.Copy(b.plan.recorded, props)
	return nil
}

// createdMeanwhile handles "exists already" for an object that did not exist a moment ago: another replica creates this VM. The next
// attempt checks the owner.
func (b *builder) createdMeanwhile(err error) error {
	if !errors.Is(err, truenas.ErrExists) {
		return err
	}
	return fmt.Errorf("VM %q is being created by another client: %w", b.plan.mark.Name, truenas.ErrBusy)
}

// removedMeanwhile handles "not found" for an object that existed before: another replica was refused and has removed its part of
// this VM. The next attempt starts over.
func (b *builder) removedMeanwhile(ctx context.Context, err error) error {
	if !errors.Is(err, truenas.ErrNotFound) {
		return err
	}
	var vm, dataset error
	if b.vm.ID != 0 {
		_, vm = b.nas.VMs.Get(ctx, b.vm.ID)
	}
	if b.plan.exists || b.madeDataset {
		_, dataset = b.nas.Datasets.Get(ctx, b.plan.dataset)
	}
	for _, p := range b.plan.places {
		if dataset == nil && (p.exists || slices.Contains(b.madePlaces, p.dataset)) {
			_, dataset = b.nas.Datasets.Get(ctx, p.dataset)
		}
	}
	if errors.Is(vm, truenas.ErrNotFound) || errors.Is(dataset, truenas.ErrNotFound) {
		return fmt.Errorf("VM %q was removed by another client: %w", b.plan.mark.Name, truenas.ErrBusy)
	}
	return err
}

// ensureDisk makes the volume, then grows it and attaches it at the same time.
func (b *builder) ensureDisk(ctx context.Context, d plannedDisk) error {
	if err := b.ensureVolume(ctx, d); err != nil {
		return err
	}
	var g errgroup.Group
	if d.grows() || d.reserves() || !d.tuned() {
		g.Go(func() error {
			_, err := b.nas.Datasets.Update(ctx, d.volume, growth(d))
			return err
		})
	}
	switch have, ok := b.plan.diskDevice(d); {
	case !ok:
		g.Go(func() error { return b.add(ctx, d.order, d.attributes()) })
	default:
		if attributes, list := d.onto(have.Attributes); len(list) > 0 {
			g.Go(func() error {
				_, err := b.nas.Devices.Update(ctx, have.ID, truenas.DeviceUpdate{Attributes: &attributes})
				return err
			})
		}
	}
	return g.Wait()
}

func (b *builder) ensureVolume(ctx context.Context, d plannedDisk) error {
	var err error
	switch {
	case d.copy != "":
		return b.ensureCopy(ctx, d)
	case d.exists:
		return nil
	case d.clone != "":
		err = b.nas.Snapshots.Clone(ctx, d.clone, d.volume, d.cloneProperties())
		if errors.Is(err, truenas.ErrNotFound) {
			return fmt.Errorf("%s was removed by another client: %w (%w)", d.clone, truenas.ErrBusy, refusal.Hide(err))
		}
	default:
		_, err = b.nas.Datasets.Create(ctx, d.newVolume())
	}
	return lease.IgnoreExists(err)
}

// growth returns the update of a volume to the plan's size, reservation and disk settings. A clone needs its reservation set,
// because TrueNAS makes all clones thin.
func growth(d plannedDisk) truenas.DatasetUpdate {
	var update truenas.DatasetUpdate
	size := max(d.bytes, d.has)
	if d.grows() {
		update.VolsizeBytes = &size
	}
	if d.reserves() {
		update.RefReservationBytes = &size
	}
	if !d.tuned() {
		d.tune(&update)
	}
	return update
}

// ensureNIC adds a NIC, or moves the NIC with this address to the requested network.
func (b *builder) ensureNIC(ctx context.Context, n nic) error {
	have, ok := b.plan.nicDevice(n)
	if !ok {
		return b.add(ctx, n.order, n.attributes())
	}
	if n.mismatch(have) == "" {
		return nil
	}
	attributes := n.onto(have)
	_, err := b.nas.Devices.Update(ctx, have.ID, truenas.DeviceUpdate{Attributes: &attributes})
	return err
}

// ensureSeed uploads the seed and puts it into the CD-ROM drive. The file is named by its contents and attached after its upload,
// so a drive with this path holds the complete seed, unless the dataset has been removed since.
func (b *builder) ensureSeed(ctx context.Context) error {
	drive, ok := b.plan.seedDrive()
	attached := ok && drive.Attributes.Path == b.plan.seedPath
	if attached && !b.madeDataset {
		return nil
	}
	image, err := b.plan.seed.ISO()
	if err != nil {
		return err
	}
	if !b.madeDataset {
		if err := lease.Uploadable(ctx, b.nas, b.plan.dataset); err != nil {
			return err
		}
	}
	if err := b.nas.Files.Put(ctx, b.plan.seedPath, seedMode, bytes.NewReader(image), int64(len(image)), nil); err != nil {
		return err
	}
	if attached {
		return nil
	}
	cdrom := truenas.CDROM(b.plan.seedPath)
	if !ok {
		return b.add(ctx, hardware.OrderSeed, cdrom)
	}
	_, err = b.nas.Devices.Update(ctx, drive.ID, truenas.DeviceUpdate{Attributes: &cdrom})
	return err
}

func (b *builder) add(ctx context.Context, order int, attributes truenas.DeviceAttributes) error {
	_, err := b.nas.Devices.Create(ctx, truenas.DeviceCreate{VM: b.vm.ID, Order: b.place(order), Attributes: attributes})
	return lease.IgnoreExists(err)
}

// remove removes the objects that this builder made. It keeps older objects, except for the record of an earlier attempt without
// disks: the dataset must not be removed without that record.
func (b *builder) remove(ctx context.Context) error {
	if before := b.plan.existing; before != nil && !b.madeVM && !(b.madeDataset && b.diskless(*before)) {
		return nil
	}
	if b.vm.ID != 0 {
		if err := destroy.VM(ctx, b.nas, b.vm.ID); err != nil {
			return err
		}
	}
	for _, dataset := range b.madePlaces {
		if err := destroy.Dataset(ctx, b.nas, dataset); err != nil {
			return err
		}
	}
	if b.madeDataset {
		return destroy.Dataset(ctx, b.nas, b.plan.dataset)
	}
	return nil
}

// diskless reports whether a VM without its dataset had no disk: it is off, and none of its disks lies elsewhere.
func (b *builder) diskless(vm truenas.VM) bool {
	outside := func(volume string) bool { return !spec.InTree(volume, b.plan.dataset) }
	return !vmrecord.Active(vm) && !slices.ContainsFunc(vmrecord.Disks(vm), outside)
}

// verify reads the VM back, and returns it when it matches the plan.
func (b *builder) verify(ctx context.Context) (truenas.VM, error) {
	vm, err := b.made(ctx)
	if err != nil {
		return truenas.VM{}, err
	}
	if vm, err = dropDuplicateNICs(ctx, b.nas, vm); err != nil {
		return truenas.VM{}, err
	}
	if vm, err = putInOrder(ctx, b.nas, vm, b.plan.volumes()...); err != nil {
		return truenas.VM{}, err
	}
	b.plan.existing = &vm
	if missing := b.plan.missing(); len(missing) > 0 {
		return truenas.VM{}, refusal.Aborted("VM %q lacks its %s: another client is changing it; the next Create completes it", b.plan.mark.Name, missing[0])
	}
	return vm, nil
}
