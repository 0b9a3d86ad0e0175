package soak

import (
	"fmt"
	"slices"
	"strings"
)

// Where the providers keep everything.
const root = "tank/virtrigaud"

const gib = 1 << 30

// What a VM's root disk is made from.
const (
	blank    = "blank"
	template = "template" // a snapshot that was made by hand
	prepared = "prepared" // an image that a provider landed
	imported = "imported" // a volume that an import landed
)

// machine is a VM as its worker wants it, which is how it has to be on the NAS after every operation.
type machine struct {
	name  string // as the control plane has it; the slot of its worker
	owner string // uid, "" as line 0.3 sends it
	id    string // as the provider answered; "" while there is no VM

	cpus   int
	memory int64 // MiB
	root   disk
	source string // of the root disk
	extras []disk
	nics   int
	seed   bool
	on     bool
	marks  []mark // oldest first
	held   string // what is at the beginning of the root disk
	moment int    // counts the snapshots of all
	byHand byHand // what others have of it
}

type disk struct {
	name string
	gib  int // 0: as large as what it is made from
}

// mark is a snapshot of a VM: one that was requested, or one that a linked clone depends on.
type mark struct {
	name  string
	clone string // the clone that depends on it, or ""
	held  string // what was at the beginning of the root disk
	disks []string
	sizes []disk // the disks as they were, to whose sizes a revert goes back too
	taken int    // when, as machine.moment counts
}

func (m *machine) stands() bool { return m.id != "" }

// onNAS is a name as the NAS has it.
func onNAS(name string) string { return strings.ReplaceAll(name, "-", "_") }

// onNAS is the name of the VM on the NAS, which begins with the namespace when the request has one.
func (m *machine) onNAS() string {
	if m.owner == "" {
		return onNAS(m.name)
	}
	return onNAS(namespace) + "ZZ" + onNAS(m.name)
}

// namespace is that of all VMs with an owner.
const namespace = "soak"

// home is the VM's dataset.
func (m *machine) home() string { return root + "/vms/" + m.onNAS() }

// volume is where a disk lies.
func (m *machine) volume(d disk) string {
	if d.name == rootName && m.source == imported {
		return root + "/imports/" + onNAS(m.name) + "/disk"
	}
	return m.home() + "/" + onNAS(d.name)
}

const rootName = "root"

// disks are all of the VM's, the root disk first.
func (m *machine) disks() []disk { return append([]disk{m.root}, m.extras...) }

func (m *machine) volumes() []string {
	var list []string
	for _, d := range m.disks() {
		list = append(list, m.volume(d))
	}
	return list
}

// trees are the datasets that its disks lie in.
func (m *machine) trees() []string {
	var list []string
	for _, v := range m.volumes() {
		if tree := v[:strings.LastIndex(v, "/")]; !slices.Contains(list, tree) {
			list = append(list, tree)
		}
	}
	return list
}

// asked are the snapshots that can be reverted to and deleted.
func (m *machine) asked() []mark {
	return slices.DeleteFunc(slices.Clone(m.marks), func(k mark) bool { return k.clone != "" })
}

func (m *machine) mark(name, clone string) {
	m.moment++
	m.marks = append(m.marks, mark{name, clone, m.held, m.volumes(), m.disks(), m.moment})
}

func (m *machine) unmark(name string) {
	m.marks = slices.DeleteFunc(m.marks, func(k mark) bool { return k.name == name })
}

func (m *machine) marked(name string) (mark, bool) {
	i := slices.IndexFunc(m.marks, func(k mark) bool { return k.name == name })
	if i < 0 {
		return mark{}, false
	}
	return m.marks[i], true
}

// revertTo is what a revert does to the VM; disks that are newer than the snapshot stay as they are.
func (m *machine) revertTo(k mark) {
	m.held, m.root = k.held, k.sizes[0]
	m.extras = slices.Clone(m.extras)
	copy(m.extras, k.sizes[1:])
}

func (m *machine) String() string {
	return fmt.Sprintf("%s(%s, %d CPUs, %d MiB, %s, on=%t)", m.name, m.source, m.cpus, m.memory, m.volumes(), m.on)
}
