package ownership

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// The home of a VM is the dataset of its root disk. Additional disks on another pool are in a dataset of the same name in the tree
// there. That dataset carries the VM's mark and names the home, and the home records the pools, so that each is known while the
// other's pool is missing.

// CheckPlace checks the dataset for additional disks of a VM on another pool than that of its home, against a reading of the two
// pools. It refuses a dataset that was not made for the disks of this VM; field is the requesting field, and m the mark of the VM.
func (k *Marks) CheckPlace(field, home, dataset string, m spec.Mark, read map[string]truenas.Dataset) (exists bool, err error) {
	pool := spec.PoolOf(dataset)
	top, imported := read[pool]
	if !imported {
		return false, refusal.FailedPrecondition("%s: the NAS has no pool %q", field, pool)
	}
	d, exists := read[dataset]
	if exists && !k.isPlace(d, home, m) {
		return false, refusal.AlreadyExists("%s: dataset %s exists and was not made by this provider for disks of VM %q; rename it, or name another pool", field, dataset, m.Name)
	}
	if k.foreignPool(pool) {
		return false, refusal.FailedPrecondition("%s: dataset %s belongs to another installation; name another pool", field, k.layout.Root(pool))
	}
	for _, d := range []truenas.Dataset{top, read[k.layout.Root(pool)], d} {
		if d.Locked {
			return false, refusal.FailedPrecondition("%s: dataset %s is encrypted and locked; unlock it on the NAS", field, d.ID)
		}
	}
	return exists, nil
}

// isPlace reports whether a dataset was made for additional disks of a VM with this mark and home.
func (k *Marks) isPlace(d truenas.Dataset, home string, m spec.Mark) bool {
	props := d.LocalUserProperties
	found, marked := spec.MarkIn(props)
	same := found.Provider == m.Provider && found.Owner == m.Owner && found.Namespace == m.Namespace && found.Name == m.Name
	return marked && same && d.Type != truenas.Volume && props[spec.PropHome] == home && props[spec.PropDataset] == d.ID
}

// Encrypted reports whether a new dataset on a pool would be encrypted: the nearest existing dataset at or above it decides.
func (k *Marks) Encrypted(dataset string, read map[string]truenas.Dataset) (nearest string, encrypted bool) {
	pool := spec.PoolOf(dataset)
	for _, id := range []string{dataset, k.layout.Root(pool), pool} {
		if d, ok := read[id]; ok {
			return id, d.Encrypted
		}
	}
	return dataset, false
}

// HomesFirst puts the homes of a VM before its datasets on other pools.
func HomesFirst(own []truenas.Dataset) []truenas.Dataset {
	slices.SortStableFunc(own, func(a, b truenas.Dataset) int { return rank(a) - rank(b) })
	return own
}

func rank(d truenas.Dataset) int {
	if IsPlace(d) {
		return 1
	}
	return 0
}

// IsPlace reports whether a dataset of a VM holds additional disks on another pool, and is not the VM's home.
func IsPlace(d truenas.Dataset) bool { return d.LocalUserProperties[spec.PropHome] != "" }

// CheckAway refuses to remove a VM with a missing dataset that another dataset names: a home that records a pool, or the home of
// additional disks. The dataset is on a missing pool, has lost its marks, or was removed.
func (k *Marks) CheckAway(ctx context.Context, own []truenas.Dataset) error {
	named := map[string]naming{} // by pool, and by the expected dataset there
	expect := func(dataset string, by naming) {
		if !slices.ContainsFunc(own, func(other truenas.Dataset) bool { return other.ID == dataset }) {
			named[spec.PoolOf(dataset)], named[dataset] = by, by
		}
	}
	for _, d := range own {
		for _, pool := range spec.Pools(d.LocalUserProperties[spec.PropPools]) {
			expect(k.layout.DisksDataset(d.ID, pool), naming{d.ID, spec.PropPools})
		}
		if home := d.LocalUserProperties[spec.PropHome]; home != "" {
			expect(home, naming{d.ID, spec.PropHome})
		}
	}
	if len(named) == 0 {
		return nil
	}
	ids := slices.Sorted(maps.Keys(named))
	list, err := k.nas.Datasets.List(ctx, truenas.Cond("id", "in", ids))
	if err != nil {
		return err
	}
	for _, id := range ids {
		there := slices.ContainsFunc(list, func(d truenas.Dataset) bool { return d.ID == id })
		by := named[id]
		switch isPool := spec.PoolOf(id) == id; {
		case isPool && !there:
			return refusal.FailedPrecondition("the VM of %s has disks on pool %q, which the NAS does not have at the moment: import the pool first, or remove %s", by.dataset, id, by.entry(id))
		case !isPool && there:
			return refusal.FailedPrecondition("dataset %s is where the VM of %s has disks, and does not carry the VM's user properties virtrigaud:*: set them there, or remove %s", id, by.dataset, by.entry(spec.PoolOf(id)))
		}
	}
	return nil
}

// naming is a property of a dataset that names another dataset of the same VM.
type naming struct{ dataset, property string }

// entry returns the value that a user removes so that the other dataset is no longer expected.
func (n naming) entry(pool string) string {
	if n.property == spec.PropHome {
		return fmt.Sprintf("the user property %s of %s", n.property, n.dataset)
	}
	return fmt.Sprintf("%s from the user property %s of %s", pool, n.property, n.dataset)
}
