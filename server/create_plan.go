package server

import (
	"fmt"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/seed"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// plan is the intended state of a VM on the NAS.
type plan struct {
	id         string
	mark       spec.Mark
	name       string // the name on the NAS
	class      spec.Class
	inherits   *truenas.VM // a clone's source, the default of each hardware setting
	dataset    string
	exists     bool              // the dataset exists
	encrypted  bool              // the dataset is encrypted
	imported   string            // the dataset of the imported disk that becomes the VM's root disk, or ""
	recorded   map[string]string // the user properties of the VM's dataset
	found      spec.Mark         // the mark in those properties, when the dataset exists
	places     []place           // the datasets for additional disks on other pools
	requested  map[string]string // properties that record the request, see [propImage] and [propSeed]
	disks      []plannedDisk
	cdroms     []string // ISO files: the installer's, and one with drivers
	installs   bool     // the first ISO is an installer, and the root disk is blank
	nics       []nic
	devices    []hardware.Device
	seed       *seed.Seed
	seedPath   string
	warning    string // a warning about the user data
	existing   *truenas.VM
	surplus    []truenas.Device // the existing VM's NICs and seed that this provider made and the request omits
	duplicates []truenas.VM     // duplicate records of the VM, which two replicas made at once
	resumed    bool             // an earlier attempt began this full clone
	release    truenas.Release
	shared     string           // an existing volume that another Create may want too, or ""
	image      *truenas.Dataset // the dataset of the prepared image that the root disk is cloned from

	begun    func()                                     // full clone: called when its record and its dataset exist
	progress func(volume string) func(truenas.Progress) // full clone: receives the progress of the copy of a disk
}

// place is a dataset for additional disks of a VM on another pool than that of the VM's own dataset.
type place struct {
	dataset string
	exists  bool
}

type plannedDisk struct {
	at     string // the field with its size, for messages
	order  int
	volume string // its full path
	bytes  int64
	thick  bool
	clone  string // the snapshot to clone
	copy   string // the snapshot to copy in full; neither: blank
	exists bool
	has    int64 // its size in bytes now, or right after it is cloned

	reserved, used int64 // bytes of an existing volume

	diskHardware
}

// plan compares the request with the state of the NAS and refuses a request that the NAS cannot satisfy. It changes nothing.
func (s *Server) plan(want spec.VM, id string, seen *observation) (*plan, error) {
	p, err := s.planWith(want, id, seen, (*plan).planDisks)
	if err != nil {
		return nil, err
	}
	if err := p.checkRoot(want, seen, s.layout); err != nil {
		return nil, err
	}
	if p.existing != nil {
		if err := hardware.OtherMachine(*p.existing, p.class); err != nil {
			return nil, err
		}
	}
	p.planSeed(want, seen)
	if err := p.planSurplus(); err != nil {
		return nil, err
	}
	if drive, ok := p.seedDrive(); p.seed != nil && (!ok || drive.Attributes.Path != p.seedPath) {
		if err := s.needUpload("user_data"); err != nil {
			return nil, err
		}
	}
	return p, p.checkRunning()
}

// planWith plans everything except the seed; the caller plans the disks.
func (s *Server) planWith(want spec.VM, id string, seen *observation, disks func(*plan, spec.VM, *observation) error) (*plan, error) {
	p := &plan{
		id: id, name: want.OnNAS(), class: want.Class, dataset: s.layout.VMDataset(want.Pool, want.OnNAS()), release: s.nas.Release(),
		mark: spec.Mark{Provider: s.cfg.ID, Owner: want.Owner, Namespace: want.Namespace, Name: want.Name, Tags: want.Tags, Source: want.Source, Host: want.Host},
	}
	if want.Source != "" {
		p.mark.Pool = want.Pool
	}
	steps := []func() error{
		func() error { return s.checkPool(want, seen) },
		func() error { return s.checkNetworkBoot(want.Class) },
		func() error { return p.claimDataset(seen) },
		func() error { return s.planPlaces(p, want, seen) },
		func() error { return p.claimMachine(seen, s.layout) },
		func() error { return disks(p, want, seen) },
		func() error { return p.equip(want, seen, blankRoot(p, want)) },
		func() error { return p.checkEncryption(want, seen, s.layout) },
		func() error { return p.notReverting(seen) },
		func() error { return p.planNICs(want.Networks, seen, s.cfg.DefaultNetwork) },
		func() error { return p.checkSpace(seen) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if len(p.disks) > 0 {
		p.imported, _ = s.layout.ImportOf(p.disks[0].volume)
	}
	return p, nil
}

// blankRoot reports whether the root disk is made without an image, for an installer.
func blankRoot(p *plan, want spec.VM) bool {
	return p.installs || want.Image.Kind == spec.ImageNone || want.Image.Kind == spec.ImageInstaller
}

// notReverting refuses to make a disk that an interrupted SnapshotRevert has set aside: the next SnapshotRevert puts its contents
// in place.
func (p *plan) notReverting(seen *observation) error {
	for _, d := range p.disks {
		for id := range seen.datasets {
			if of, ok := spec.AsideOf(id); ok && of == d.volume && !d.exists {
				return refusal.Aborted("disk %s of VM %q has an interrupted revert to a snapshot; repeat the revert", d.volume, p.mark.Name)
			}
		}
	}
	return nil
}

// placeSeed sets the path of the seed in the VM's dataset.
func (p *plan) placeSeed(datasets map[string]truenas.Dataset) {
	if p.seed == nil {
		return
	}
	folder := "/mnt/" + p.dataset
	if d, ok := datasets[p.dataset]; ok && d.Mountpoint != "" {
		folder = d.Mountpoint
	}
	p.seedPath = folder + "/" + p.seed.FileName()
}

func (s *Server) checkPool(want spec.VM, seen *observation) error {
	root := s.layout.Root(want.Pool)
	pool, ok := seen.datasets[spec.PoolOf(root)]
	if !ok {
		return refusal.FailedPrecondition("placement_json.Datastore: the NAS has no pool %q", spec.PoolOf(root))
	}
	if root, ok := seen.datasets[root]; pool.Locked || (ok && root.Locked) {
		return refusal.FailedPrecondition("placement_json.Datastore: dataset %s is encrypted and locked; unlock it on the NAS", root.ID)
	}
	return nil
}

// claimDataset refuses a dataset of another owner. A dataset of this provider without a VM is a leftover of an earlier attempt, or
// belongs to a VM that lost its record: its disks are reused unchanged.
func (p *plan) claimDataset(seen *observation) error {
	d, ok := seen.datasets[p.dataset]
	if !ok {
		return nil
	}
	p.exists, p.encrypted = true, d.Encrypted
	props := d.LocalUserProperties
	p.recorded = props
	m, marked := spec.MarkIn(props)
	switch {
	case m.Provider != p.mark.Provider || m.Name != p.mark.Name:
		return refusal.AlreadyExists("dataset %s exists and was not made for VM %q by this provider", p.dataset, p.mark.Name)
	case m.Owner != p.mark.Owner || m.Namespace != p.mark.Namespace:
		return refusal.AlreadyExists("VM %q exists and belongs to another owner", p.mark.Name)
	case !marked:
		return refusal.AlreadyExists("dataset %s exists, and its user property %s is not the id of VM %q", p.dataset, spec.PropVM, p.mark.Name)
	}
	p.found = m
	if home := props[spec.PropHome]; home != "" {
		return refusal.FailedPrecondition("placement_json.Datastore: dataset %s holds additional disks of VM %q, whose own dataset is %s; name the pool of that", p.dataset, p.mark.Name, home)
	}
	if d.Locked {
		return refusal.FailedPrecondition("dataset %s is encrypted and locked; unlock it on the NAS", p.dataset)
	}
	return nil
}

// planPlaces plans the datasets for additional disks on other pools.
func (s *Server) planPlaces(p *plan, want spec.VM, seen *observation) error {
	for i, d := range want.Disks {
		dataset := s.layout.DisksDataset(p.dataset, d.Pool)
		if p.holds(dataset) {
			continue
		}
		field := fmt.Sprintf("disks_json[%d].StorageClass", i)
		if want.Image.Kind == spec.ImageAttach {
			return refusePlace(field, d.Pool, p.dataset)
		}
		exists, err := s.checkPlace(field, p.dataset, dataset, p.mark, p.class, seen.datasets)
		if err != nil {
			return err
		}
		p.places = append(p.places, place{dataset, exists})
	}
	return nil
}

// refusePlace refuses a disk on another pool for a VM whose root disk does not lie in the VM's own dataset. The root disk
// distinguishes the VM's own dataset from those on other pools.
func refusePlace(field, pool, home string) error {
	return refusal.FailedPrecondition("%s: the root disk of the VM is an imported one, and its additional disks lie on pool %q; %q cannot be used", field, spec.PoolOf(home), pool)
}

// checkPlace checks the dataset for additional disks of a VM on another pool than that of its home. A new dataset needs a pool that
// the operator allows.
func (s *Server) checkPlace(field, home, dataset string, m spec.Mark, c spec.Class, read map[string]truenas.Dataset) (exists bool, err error) {
	if _, there := read[dataset]; !there {
		if err := s.allowPool(field, spec.PoolOf(dataset)); err != nil {
			return false, err
		}
	}
	exists, err = s.marks.CheckPlace(field, home, dataset, m, read)
	if err != nil || !c.Encrypted {
		return exists, err
	}
	if nearest, encrypted := s.marks.Encrypted(dataset, read); !encrypted {
		return exists, unencryptedPlace(nearest, s.layout.Root(spec.PoolOf(dataset)))
	}
	return exists, nil
}

// datasets returns the VM's own dataset and those on other pools.
func (p *plan) datasets() []string {
	list := []string{p.dataset}
	for _, b := range p.places {
		list = append(list, b.dataset)
	}
	return list
}

// homeOn returns the dataset of the VM for disks on a pool.
func (p *plan) homeOn(pool string) string {
	for _, b := range p.places {
		if spec.PoolOf(b.dataset) == pool {
			return b.dataset
		}
	}
	return p.dataset
}

// holds reports whether a volume is in a dataset of the VM, or is such a dataset.
func (p *plan) holds(volume string) bool {
	return spec.InTree(volume, p.dataset) || slices.ContainsFunc(p.places, func(b place) bool { return spec.InTree(volume, b.dataset) })
}

// pools returns the value of [spec.PropPools]: the other pools with disks of the VM.
func (p *plan) pools() string {
	pools := spec.Pools(p.recorded[spec.PropPools])
	for _, b := range p.places {
		pools = append(pools, spec.PoolOf(b.dataset))
	}
	slices.Sort(pools)
	return strings.Join(slices.Compact(pools), ",")
}

// claimMachine finds an existing VM, and refuses a VM of another owner. The id proves that a VM was made for this request. The
// source of a full clone is in the description, or in the dataset when a user edited the description.
func (p *plan) claimMachine(seen *observation, l spec.Layout) error {
	var records []truenas.VM
	for _, vm := range seen.vms {
		if vm.Name != p.name && vm.UUID != p.id {
			continue
		}
		if vm.UUID != p.id {
			return p.takenBy(vm)
		}
		m, readable := vmrecord.Mark(vm)
		if !readable {
			m = p.found
		}
		switch {
		case m.Source != "" && p.mark.Source == "":
			return unfinished(p.mark.Name)
		case m.Source != "" && m.Source != p.mark.Source:
			return refusal.FailedPrecondition("target_name: VM %q is a clone in progress of another VM, %s", p.mark.Name, m.Source)
		}
		p.resumed = p.resumed || m.Source != ""
		records = append(records, vm)
	}
	if len(records) == 0 {
		return nil
	}
	kept, duplicates, err := duplicateRecordsOf(records)
	if err != nil {
		return err
	}
	p.existing, p.duplicates = &kept, duplicates
	return p.checkPlace(l)
}

// takenBy returns the refusal that names the owner of the VM with this name.
func (p *plan) takenBy(vm truenas.VM) error {
	m, ok := vmrecord.Mark(vm)
	switch {
	case !ok:
		return refusal.AlreadyExists("VM %q exists on the NAS and was not made by this provider", vm.Name)
	case m.Provider != p.mark.Provider || m.Name != p.mark.Name:
		return refusal.AlreadyExists("VM %q exists on the NAS and was made for %q by the provider %q", vm.Name, m.Name, m.Provider)
	}
	return refusal.AlreadyExists("VM %q exists and belongs to another owner", p.mark.Name)
}

// checkPlace refuses to give an existing VM a second set of disks, on another pool or in the tree of another provider that has
// the same id. It refuses to leave out the disks on a pool that no disk of the request names.
func (p *plan) checkPlace(l spec.Layout) error {
	if p.existing == nil {
		return nil
	}
	for _, d := range p.existing.Devices {
		volume := spec.VolumeOf(d.Attributes.Path)
		if volume == "" || p.holds(volume) || !spec.InTree(volume, l.VMDataset(spec.PoolOf(volume), p.name)) {
			continue
		}
		if slices.ContainsFunc(vmrecord.Disks(*p.existing), func(other string) bool { return spec.InTree(other, p.dataset) }) {
			return p.refuseOmission(volume)
		}
		return refusal.FailedPrecondition("placement_json.Datastore: the VM's disks are on pool %q; a VM does not move between pools", spec.PoolOf(volume))
	}
	places := vmrecord.Places(*p.existing)
	if !p.exists && len(places) > 0 && !slices.ContainsFunc(places, func(place string) bool { return spec.InTree(place, p.dataset) }) {
		return refusal.AlreadyExists("VM %q exists on the NAS, and its disks lie in %s and not in %s: a provider with the id %q and another dataset made it; "+
			"give the two providers different ids", p.mark.Name, places[0], p.dataset, p.mark.Provider)
	}
	return nil
}
