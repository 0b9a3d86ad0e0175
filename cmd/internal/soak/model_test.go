package soak

import (
	"fmt"
	"slices"
	"strings"
)

// root is the dataset of the providers.
const root = "tank/virtrigaud"

const gib = 1 << 30

// Sources of a VM's root disk.
const (
	blank    = "blank"
	template = "template" // a snapshot that was made by hand
	prepared = "prepared" // an image that a provider landed
	imported = "imported" // a volume that an import landed
)

// machine is the expected state of a VM: the NAS must match it after every operation.
type machine struct {
	name  string // in the control plane; the slot of its worker
	owner string // uid; empty for line 0.3
	id    string // returned by the provider; empty while the VM does not exist

	cpus   int
	memory int64 // MiB
	root   disk
	source string // of the root disk
	extras []disk
	nics   int
	seed   bool
	on     bool
	marks  []mark // oldest first
	held   string // the beginning of the root disk
	moment int    // counts all snapshots
	byHand byHand // objects that other clients made of it
}

type disk struct {
	name string
	gib  int // 0: the size of the source
}

// mark is a snapshot of a VM: a requested one, or one that a linked clone depends on.
type mark struct {
	name  string
	clone string // the clone that depends on it, or ""
	held  string // the beginning of the root disk at that time
	disks []string
	sizes []disk // the disks at that time; a revert restores their sizes
	taken int    // value of machine.moment
}

func (m *machine) exists() bool { return m.id != "" }

// onNAS converts a name to the NAS's form.
func onNAS(name string) string { return strings.ReplaceAll(name, "-", "_") }

// onNAS returns the name of the VM on the NAS, which begins with the namespace if the request has one.
func (m *machine) onNAS() string {
	if m.owner == "" {
		return onNAS(m.name)
	}
	return onNAS(namespace) + "ZZ" + onNAS(m.name)
}

// namespace is the namespace of all VMs with an owner.
const namespace = "soak"

// home returns the VM's dataset.
func (m *machine) home() string { return root + "/vms/" + m.onNAS() }

// volume returns the volume of a disk.
func (m *machine) volume(d disk) string {
	if d.name == rootName && m.source == imported {
		return root + "/imports/" + onNAS(m.name) + "/disk"
	}
	return m.home() + "/" + onNAS(d.name)
}

const rootName = "root"

// disks returns all disks of the VM, the root disk first.
func (m *machine) disks() []disk { return append([]disk{m.root}, m.extras...) }

func (m *machine) volumes() []string {
	var list []string
	for _, d := range m.disks() {
		list = append(list, m.volume(d))
	}
	return list
}

// trees returns the datasets that contain its disks.
func (m *machine) trees() []string {
	var list []string
	for _, v := range m.volumes() {
		if tree := v[:strings.LastIndex(v, "/")]; !slices.Contains(list, tree) {
			list = append(list, tree)
		}
	}
	return list
}

// asked returns the snapshots that can be reverted to and deleted.
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

// revertTo applies a revert to the expected state. Disks that are newer than the snapshot stay unchanged.
func (m *machine) revertTo(k mark) {
	m.held, m.root = k.held, k.sizes[0]
	m.extras = slices.Clone(m.extras)
	copy(m.extras, k.sizes[1:])
}

func (m *machine) String() string {
	return fmt.Sprintf("%s(%s, %d CPUs, %d MiB, %s, on=%t)", m.name, m.source, m.cpus, m.memory, m.volumes(), m.on)
}
