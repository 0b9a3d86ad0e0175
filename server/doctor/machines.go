package doctor

import (
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

// machines finds VMs of ours of which a part is missing that none can be without, and disks that
// no VM has.
func (e *examination) machines() []Leftover {
	homes := e.homes()
	recorded := map[string]bool{} // ids of VMs that have a record
	halfMade := map[string]bool{}
	var found []Leftover
	for _, vm := range e.vms {
		recorded[vm.UUID] = true
		if e.doctor.checkComplete(vm) != nil {
			halfMade[vm.UUID] = true
			found = append(found, e.unfinished(vm, homes[vm.UUID])...)
		} else if e.diskless(vm) {
			halfMade[vm.UUID] = true
			found = append(found, e.halfMade(vm, homes[vm.UUID])...)
		}
	}
	attached := e.attached()
	for id, home := range homes {
		switch {
		case halfMade[id]:
		case recorded[id]:
			found = append(found, e.loose(home, attached)...)
		case e.settled(home.CreatedAt):
			found = append(found, e.recordless(id, home))
		}
	}
	slices.SortFunc(found, func(a, b Leftover) int { return strings.Compare(a.Where, b.Where) })
	return found
}

// recordless reports a VM's dataset without the VM's record. Delete removes the disks before the record, so disks that hold data
// have lost their record in another way.
func (e *examination) recordless(id string, home truenas.Dataset) Leftover {
	l := e.leftover("disks without VM", home, e.deleting(id, false))
	l.home = home.ID
	for _, d := range e.volumes(home) {
		if l.Keep == "" && written(d) {
			l.Keep = d.ID + " contains data; create the VM again to use it, or remove it by hand"
		}
	}
	return l
}

// homes are the datasets of VMs of ours, by the VM's id.
func (e *examination) homes() map[string]truenas.Dataset {
	homes := map[string]truenas.Dataset{}
	for _, d := range e.datasets {
		if m, ok := e.doctor.marks.InDataset(d); ok && ownership.WrittenHere(d) && !ownership.Inherits(d, e.datasets) {
			homes[m.ID()] = d
		}
	}
	return homes
}

// attached are the volumes that VMs have.
func (e *examination) attached() map[string]bool {
	attached := map[string]bool{}
	for _, vm := range e.vms {
		for _, volume := range vmrecord.Disks(vm) {
			attached[volume] = true
		}
	}
	return attached
}

// diskless reports whether a VM of ours is off and has no disk. One whose disks lie on a pool that
// is away is not judged.
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

// halfMade reports a VM without disks, with its dataset if it has one. Written volumes in that dataset stay, because a user may
// have detached them and need their data.
func (e *examination) halfMade(vm truenas.VM, home truenas.Dataset) []Leftover {
	m, _ := e.doctor.marks.Of(vm)
	l := Leftover{Kind: "VM without disks", Where: vm.Name, Name: m.Name, drop: e.deleting(vm.UUID, true)}
	if home.ID == "" {
		return []Leftover{l}
	}
	if !e.settled(home.CreatedAt) {
		return nil
	}
	l.Kind, l.Since, l.Bytes, l.Keep = "half-made VM", home.CreatedAt, home.UsedBytes, e.inUse(home.ID, vm.ID)
	l.home = home.ID
	for _, d := range e.volumes(home) {
		if written(d) {
			l.Keep = d.ID + " contains data; remove it by hand"
		}
	}
	return []Leftover{l}
}

// unfinished reports an unfinished full clone that is older than settled. It stays, because the next poll of its task resumes it.
func (e *examination) unfinished(vm truenas.VM, home truenas.Dataset) []Leftover {
	if home.ID != "" && !e.settled(home.CreatedAt) {
		return nil
	}
	m, _ := e.doctor.marks.Of(vm)
	return []Leftover{{
		Kind: "incomplete full clone", Where: vm.Name, Name: m.Name, Since: home.CreatedAt, Bytes: home.UsedBytes,
		Keep: "the next request for the clone or its task resumes it; Delete removes it",
	}}
}

// loose reports volumes in a VM's dataset that no VM has attached.
func (e *examination) loose(home truenas.Dataset, attached map[string]bool) []Leftover {
	var found []Leftover
	for _, d := range e.volumes(home) {
		if attached[d.ID] || !e.settled(d.CreatedAt) {
			continue
		}
		l := e.leftover("loose disk", d, e.destroying(d.ID))
		l.Name, l.home = d.UserProperties[spec.PropName], home.ID
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

// setAside reports whether a disk is only away because a revert was interrupted.
func (e *examination) setAside(volume string) bool {
	return slices.ContainsFunc(e.datasets, func(d truenas.Dataset) bool {
		disk, ok := spec.AsideOf(d.ID)
		return ok && disk == volume
	})
}

func (e *examination) volumes(home truenas.Dataset) []truenas.Dataset {
	var list []truenas.Dataset
	for _, d := range e.datasets {
		if d.Type == truenas.Volume && spec.InTree(d.ID, home.ID) {
			list = append(list, d)
		}
	}
	return list
}

// written reports whether a volume has data of its own, beside what it shares with what it is a
// clone of.
func written(volume truenas.Dataset) bool { return volume.UsedByDatasetBytes > bookkeepingBytes }

// deleting removes all of a VM as Delete does, with the same refusals, unless its record came or
// went since it was looked at.
func (e *examination) deleting(id string, recorded bool) func(context.Context) error {
	return func(ctx context.Context) error { return e.doctor.remove(ctx, id, recorded) }
}
