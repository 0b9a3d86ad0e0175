package server

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// overviewWait bounds the wait for the NAS while nothing is cached yet.
const overviewWait = 2 * time.Second

// Overview is what is known at this moment, for people and for metrics. It costs the NAS nothing but a reading of the list
// of VMs after a (re)connection, which is shared by all who look.
type Overview struct {
	ID, Dataset  string
	NAS          truenas.Status
	Release      string    // "25.10"; empty before the first connection
	Listed       bool      // the VMs are known; as they were last while the NAS is away
	VMs          []Machine // by name
	Jobs         []truenas.Job
	Inventory    InventoryCounts
	Capabilities []Capability
}

// Machine is a VM in an [Overview].
type Machine struct {
	ID        string // in the contract
	Name      string
	State     string // TrueNAS's word
	Managed   bool   // this provider made it
	CPUs      int
	MemoryMiB int64
	Addresses []string
}

// InventoryCounts counts the lookups of one VM since the start.
type InventoryCounts struct {
	Hits   uint64 // answered from memory
	Misses uint64 // passed on to the NAS
}

// Capability is one of the things that the provider says it does, or does not.
type Capability struct {
	Name    string
	Offered bool
}

// Overview collects what is known. It never fails: what is not known is left out.
func (s *Server) Overview(ctx context.Context) Overview {
	ctx, cancel := context.WithTimeout(ctx, overviewWait)
	defer cancel()
	hits, misses := s.inventory.Counts()
	o := Overview{
		ID: s.cfg.ID, Dataset: s.cfg.Dataset, NAS: s.nas.Status(), Jobs: s.nas.RunningJobs(),
		Inventory: InventoryCounts{hits, misses},
	}
	var vms []truenas.VM
	vms, o.Listed = s.inventory.Peek(ctx, o.NAS.Connected)
	for _, vm := range vms {
		o.VMs = append(o.VMs, Machine{
			ID: vm.UUID, Name: s.marks.Name(vm), State: vm.Status.State, Managed: s.marks.Ours(vm),
			CPUs: vmrecord.CPUs(vm), MemoryMiB: vm.MemoryMiB, Addresses: s.addresses.Of(vm, vmrecord.MACs(vm), false),
		})
	}
	slices.SortFunc(o.VMs, func(a, b Machine) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	if release := s.nas.Release(); !release.IsZero() {
		o.Release = release.String()
		o.Capabilities = s.capabilities(ctx)
	}
	return o
}

// capabilities are the yes and no of what is advertised, in the words of the contract.
func (s *Server) capabilities(ctx context.Context) []Capability {
	answer, err := s.offered(ctx)
	if err != nil {
		return nil
	}
	var list []Capability
	message := answer.ProtoReflect()
	fields := message.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		name, supports := strings.CutPrefix(string(field.Name()), "supports_")
		if supports && field.Kind() == protoreflect.BoolKind {
			list = append(list, Capability{strings.ReplaceAll(name, "_", " "), message.Get(field).Bool()})
		}
	}
	return list
}
