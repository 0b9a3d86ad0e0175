package doctor

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// bookkeepingBytes exceeds the space that ZFS uses for an unwritten volume.
const bookkeepingBytes = 1 << 20

// machines finds VMs of this provider without an essential part, and disks that no VM has.
func (e *examination) machines() []Leftover {
	datasets := e.ofVMs()
	recorded := map[string]bool{} // ids of VMs that have a record
	halfMade := map[string]bool{}
	var found []Leftover
	for _, vm := range e.vms {
		recorded[vm.UUID] = true
		if e.doctor.checkComplete(vm) != nil {
			halfMade[vm.UUID] = true
			found = append(found, e.unfinished(vm, datasets[vm.UUID])...)
		} else if e.diskless(vm) {
			halfMade[vm.UUID] = true
			found = append(found, e.halfMade(vm, datasets[vm.UUID])...)
		}
	}
	attached := e.attached()
	for id, own := range datasets {
		switch {
		case halfMade[id]:
		case recorded[id]:
			found = append(found, e.unattachedVolumes(own, attached)...)
		case e.allSettled(own):
			found = append(found, e.recordless(id, own)...)
		}
	}
	slices.SortFunc(found, func(a, b Leftover) int { return strings.Compare(a.Where, b.Where) })
	return found
}

// recordless reports the datasets of a VM without the VM's record. Delete removes the disks before the record, so disks that hold
// data have lost their record in another way. All datasets are removed together, or none.
func (e *examination) recordless(id string, own []truenas.Dataset) []Leftover {
	var found []Leftover
	keep := ""
	for _, d := range own {
		l := e.leftover("disks without VM", d, e.deleting(id, false))
		l.home = homeOf(own)
		keep = cmp.Or(keep, l.Keep)
		found = append(found, l)
	}
	for _, d := range e.volumes(e.withImports(own)) {
		if keep == "" && written(d) {
			keep = d.ID + " contains data; create the VM again to use it, or remove it by hand"
		}
	}
	for i := range found {
		found[i].Keep = keep
	}
	return found
}

// withImports adds the datasets of imported disks that are removed with a VM.
func (e *examination) withImports(own []truenas.Dataset) []truenas.Dataset {
	all := slices.Clone(own)
	for _, d := range own {
		if imported, ok := e.byID[d.LocalUserProperties[spec.PropImport]]; ok {
			all = append(all, imported)
		}
	}
	return all
}

// ofVMs returns the datasets of this provider's VMs, by the VM's id: its home first, then those for disks on other pools.
func (e *examination) ofVMs() map[string][]truenas.Dataset {
	all := map[string][]truenas.Dataset{}
	for _, d := range e.datasets {
		if m, ok := e.doctor.marks.InDataset(d); ok && ownership.WrittenHere(d) && !ownership.Inherits(d, e.datasets) {
			all[m.ID()] = ownership.HomesFirst(append(all[m.ID()], d))
		}
	}
	return all
}

// homeOf returns the name of a VM's home, which is the key of the VM's lock; the dataset may not exist.
func homeOf(own []truenas.Dataset) string {
	return cmp.Or(own[0].LocalUserProperties[spec.PropHome], own[0].ID)
}

func (e *examination) allSettled(own []truenas.Dataset) bool {
	return !slices.ContainsFunc(own, func(d truenas.Dataset) bool { return !e.settled(d.CreatedAt) })
}

// attached returns the volumes of VMs.
func (e *examination) attached() map[string]bool {
	attached := map[string]bool{}
	for _, vm := range e.vms {
		for _, volume := range vmrecord.Disks(vm) {
			attached[volume] = true
		}
	}
	return attached
}

// diskless reports whether a VM of this provider is off and has no disk. It is false for a VM with disks on a missing pool.
func (e *examination) diskless(vm truenas.VM) bool {
	if !e.doctor.marks.Ours(vm) || vm.Status.State != truenas.StateStopped {
		return false
	}
	return !slices.ContainsFunc(vmrecord.Disks(vm), func(volume string) bool {
		_, there := e.byID[volume]
		there = there || e.setAside(volume)
		_, pool := e.byID[spec.PoolOf(volume)]
		return there || !pool
	})
}

// halfMade reports a VM without disks, with its datasets if it has any. Written volumes in them stay, because a user may
// have detached them and need their data.
func (e *examination) halfMade(vm truenas.VM, own []truenas.Dataset) []Leftover {
	m, _ := e.doctor.marks.Of(vm)
	l := Leftover{Kind: "VM without disks", Where: vm.Name, Name: m.Name, drop: e.deleting(vm.UUID, true)}
	if len(own) == 0 {
		return []Leftover{l}
	}
	if !e.allSettled(own) {
		return nil
	}
	l.Kind, l.Since, l.home = "half-made VM", own[0].CreatedAt, homeOf(own)
	for _, d := range own {
		l.Bytes += d.UsedBytes
		l.Keep = cmp.Or(l.Keep, e.inUse(d.ID, vm.ID))
	}
	for _, d := range e.volumes(own) {
		if written(d) {
			l.Keep = d.ID + " contains data; remove it by hand"
		}
	}
	return []Leftover{l}
}

// unfinished reports an unfinished full clone that is older than settled. It stays, because the next poll of its task resumes it.
func (e *examination) unfinished(vm truenas.VM, own []truenas.Dataset) []Leftover {
	if !e.allSettled(own) {
		return nil
	}
	home := append(own, truenas.Dataset{})[0]
	m, _ := e.doctor.marks.Of(vm)
	return []Leftover{{
		Kind: "incomplete full clone", Where: vm.Name, Name: m.Name, Since: home.CreatedAt, Bytes: home.UsedBytes,
		Keep: "the next request for the clone or its task resumes it; Delete removes it",
	}}
}

// unattachedVolumes reports volumes in a VM's datasets that no VM has attached.
func (e *examination) unattachedVolumes(own []truenas.Dataset, attached map[string]bool) []Leftover {
	var found []Leftover
	for _, d := range e.volumes(own) {
		if attached[d.ID] || !e.settled(d.CreatedAt) {
			continue
		}
		l := e.leftover("loose disk", d, e.destroying(d.ID))
		l.Name, l.home = d.UserProperties[spec.PropName], homeOf(own)
		if disk, ok := spec.AsideOf(d.ID); ok {
			l.Kind = "disk set aside by a revert"
			l.Keep = "it has snapshots of other clients, newer than the one that " + disk + " was reverted to; Delete of its VM removes it, or remove it by hand"
		} else if written(d) {
			l.Keep = "it contains data; remove it by hand"
		}
		found = append(found, l)
	}
	return found
}

// setAside reports whether a disk is missing only because a revert was interrupted.
func (e *examination) setAside(volume string) bool {
	return slices.ContainsFunc(e.datasets, func(d truenas.Dataset) bool {
		disk, ok := spec.AsideOf(d.ID)
		return ok && disk == volume
	})
}

// volumes returns the volumes in the datasets of a VM.
func (e *examination) volumes(own []truenas.Dataset) []truenas.Dataset {
	var list []truenas.Dataset
	for _, home := range own {
		for _, d := range e.datasets {
			if d.Type == truenas.Volume && spec.InTree(d.ID, home.ID) {
				list = append(list, d)
			}
		}
	}
	return list
}

// written reports whether a volume has its own data, besides the blocks that it shares with its origin.
func written(volume truenas.Dataset) bool { return volume.UsedByDatasetBytes > bookkeepingBytes }

// deleting removes a complete VM as Delete does, with the same refusals, unless its record was added or removed since the
// examination.
func (e *examination) deleting(id string, recorded bool) func(context.Context) error {
	return func(ctx context.Context) error { return e.doctor.remove(ctx, id, recorded) }
}
