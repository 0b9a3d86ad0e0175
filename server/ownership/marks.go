package ownership

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"virtrigaud-provider-truenas/server/inventory"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// A VM belongs to this provider when its UUID is derived from this provider's id and the VM is in this provider's tree. The VM's
// record usually shows both: the description has the input of the UUID, and a disk or the seed is in the VM's dataset. If the
// record is not conclusive, the VM's dataset decides.

// homesAge is the maximum age of a reading that proves the absence of a VM's dataset.
const homesAge = 10 * time.Minute

// Marks recognizes the VMs of this provider.
type Marks struct {
	nas      *truenas.Client
	provider string
	layout   spec.Layout
	claims   *Claims
	flight   singleflight.Group // shared readings of the VMs' datasets
	homes    homes
}

// NewMarks returns the marks of a provider's VMs. It makes no calls to the NAS.
func NewMarks(nas *truenas.Client, provider string, layout spec.Layout, claims *Claims) *Marks {
	return &Marks{nas: nas, provider: provider, layout: layout, claims: claims}
}

// homes holds the marks of the VMs' datasets as last read, by the VM's id.
type homes struct {
	mu    sync.Mutex
	read  time.Time
	marks map[string]spec.Mark
}

func (h *homes) get(id string) (m spec.Mark, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, known = h.marks[id]
	return m, known
}

// learn replaces all marks by a reading of all VMs' datasets.
func (h *homes) learn(marks map[string]spec.Mark) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.marks, h.read = marks, time.Now()
}

func (h *homes) note(m spec.Mark) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.marks == nil {
		h.marks = map[string]spec.Mark{}
	}
	h.marks[m.ID()] = m
}

// replace stores a reading of all possible datasets of the VM with this id.
func (h *homes) replace(id string, m spec.Mark, exists bool) {
	if exists {
		h.note(m)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.marks, id)
}

func (h *homes) recent() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.read) < homesAge
}

// InDataset reads the mark of a VM's dataset in this provider's tree. The name of the dataset has to match the mark: TrueNAS 25.10
// and later report an inherited property as if it was set on the dataset itself, so the properties alone do not distinguish a VM's
// dataset from a child of it.
func (k *Marks) InDataset(d truenas.Dataset) (spec.Mark, bool) {
	m, ok := spec.MarkIn(d.LocalUserProperties)
	return m, ok && m.Provider == k.provider && d.Type != truenas.Volume && d.ID == k.layout.VMDataset(spec.PoolOf(d.ID), m.OnNAS()) && !k.foreignPool(spec.PoolOf(d.ID))
}

// foreignPool reports whether another installation owns the tree on a pool, if its root was read.
func (k *Marks) foreignPool(pool string) bool {
	return k.claims.foreign(k.layout.Root(pool))
}

// Learn stores a reading of all VMs' datasets.
func (k *Marks) Learn(datasets []truenas.Dataset) {
	marks := map[string]spec.Mark{}
	for _, d := range datasets {
		if m, ok := k.InDataset(d); ok {
			marks[m.ID()] = m
		}
	}
	k.homes.learn(marks)
}

// Of returns the mark of a VM of this provider, and false for every other VM. It makes no calls: a VM with an uncertain owner
// counts as another owner's until [Marks.Identify] has determined the owner.
func (k *Marks) Of(vm truenas.VM) (spec.Mark, bool) {
	m, ok := vmrecord.Mark(vm)
	switch {
	case ok && m.Provider != k.provider:
		return spec.Mark{}, false
	case ok && k.inTreeOf(vm, m):
		return m, true
	}
	home, known := k.homes.get(strings.ToLower(vm.UUID))
	if ok && known {
		return m, true // The description also has the tags.
	}
	return home, known
}

// inTreeOf reports whether the record of a VM agrees with a mark: a disk or a file of the VM is in the mark's dataset, or the VM
// has neither because Create was interrupted.
func (k *Marks) inTreeOf(vm truenas.VM, m spec.Mark) bool {
	places := vmrecord.Places(vm)
	for _, place := range places {
		if spec.InTree(place, k.layout.VMDataset(spec.PoolOf(place), m.OnNAS())) && !k.foreignPool(spec.PoolOf(place)) {
			return true
		}
	}
	return len(places) == 0
}

// isOwnerUncertain reports whether the owner is uncertain without the VM's dataset: the description and the paths of the disks contradict
// each other, or the description has no mark and the VM has no disk, or one below this provider's datasets.
func (k *Marks) isOwnerUncertain(vm truenas.VM) bool {
	if m, ok := vmrecord.Mark(vm); ok {
		return m.Provider == k.provider && !k.inTreeOf(vm, m)
	}
	places := vmrecord.Places(vm)
	return len(places) == 0 || slices.ContainsFunc(places, func(place string) bool {
		root := k.layout.Root(spec.PoolOf(place))
		return strings.HasPrefix(place, root+spec.VMsFolder) || strings.HasPrefix(place, root+spec.ImportsFolder)
	})
}

// Identify resolves an uncertain owner of a VM, if necessary, by a query of the VMs' datasets.
func (k *Marks) Identify(ctx context.Context, vm truenas.VM) error {
	if !k.isOwnerUncertain(vm) {
		return nil
	}
	if _, known := k.homes.get(strings.ToLower(vm.UUID)); known || k.homes.recent() {
		return nil
	}
	return k.readHomes(ctx)
}

// Certify is Identify for irreversible changes: it reads the datasets again if the VM's is missing, because the reading may be
// outdated.
func (k *Marks) Certify(ctx context.Context, vm truenas.VM) error {
	if _, known := k.homes.get(strings.ToLower(vm.UUID)); known || !k.isOwnerUncertain(vm) {
		return nil
	}
	return k.readHomes(ctx)
}

func (k *Marks) readHomes(ctx context.Context) error {
	_, err := inventory.Share(ctx, &k.flight, "homes", func(ctx context.Context) (struct{}, error) {
		list, err := k.nas.Datasets.List(ctx, truenas.Cond("id", "~", k.layout.VMsPattern()))
		if err == nil {
			k.Learn(list)
		}
		return struct{}{}, err
	})
	return err
}

// WrittenHere reports whether the user properties of a dataset were written for this dataset. A replicated copy has the same
// properties under another name. Properties of older releases do not record the name, and count as written for the dataset.
func WrittenHere(d truenas.Dataset) bool {
	written := d.LocalUserProperties[spec.PropDataset]
	return written == "" || written == d.ID
}

// Inherits reports whether a dataset may have inherited its mark from a dataset above it with the same mark. The names of an
// image, an import and a VM, and [spec.PropDataset], distinguish marks that were written for different datasets.
func Inherits(d truenas.Dataset, others []truenas.Dataset) bool {
	return slices.ContainsFunc(others, func(above truenas.Dataset) bool {
		return d.ID != above.ID && spec.InTree(d.ID, above.ID) &&
			!slices.ContainsFunc([]string{spec.PropProvider, spec.PropName, spec.PropVM, spec.PropDataset}, func(key string) bool {
				return d.LocalUserProperties[key] != above.UserProperties[key]
			})
	})
}

// Datasets selects the datasets of a VM of this provider from those with its id in [spec.PropVM] and their parents. A dataset with
// a disk of the VM counts, unless its mark may be inherited. Another dataset with the VM's mark may be a replica: it counts if its
// mark was written for it. A mark that does not record its dataset counts if no other dataset is certain to be the VM's.
func (k *Marks) Datasets(id string, vm *truenas.VM, datasets []truenas.Dataset) ([]truenas.Dataset, error) {
	var used, here, unsure []truenas.Dataset
	for _, d := range datasets {
		m, ok := k.InDataset(d)
		switch {
		case !ok || m.ID() != id || Inherits(d, datasets):
		case vm != nil && slices.ContainsFunc(vmrecord.Places(*vm), func(place string) bool { return spec.InTree(place, d.ID) }):
			used = append(used, d)
		case d.LocalUserProperties[spec.PropDataset] == d.ID:
			here = append(here, d)
		case WrittenHere(d):
			unsure = append(unsure, d)
		}
	}
	switch certain := slices.Concat(used, here); {
	case len(certain) > 0:
		return certain, nil
	case len(unsure) > 1:
		return nil, refusal.FailedPrecondition("%s and %s both carry the mark of VM %s, and one may be a replica; remove the user property %s from the replica", unsure[0].ID, unsure[1].ID, id, spec.PropVM)
	}
	return unsure, nil
}

// Ours reports whether this provider made the VM.
func (k *Marks) Ours(vm truenas.VM) bool {
	_, ok := k.Of(vm)
	return ok
}

// Name returns the name of a VM for responses. It also knows the name of a VM of this provider whose description was edited.
func (k *Marks) Name(vm truenas.VM) string {
	if m, ok := k.Of(vm); ok {
		return m.Name
	}
	return vmrecord.Name(vm)
}

// OnNAS returns the name of a VM's dataset: the name of the VM, unless a user renamed it.
func (k *Marks) OnNAS(vm truenas.VM) string {
	if m, ok := k.Of(vm); ok {
		return m.OnNAS()
	}
	return vm.Name
}

// Note stores the mark of a VM of this provider that was just made or read.
func (k *Marks) Note(m spec.Mark) { k.homes.note(m) }

// Replace stores a reading of all possible datasets of the VM with this id.
func (k *Marks) Replace(id string, m spec.Mark, exists bool) { k.homes.replace(id, m, exists) }
