package server

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// overviewWait bounds the wait for the NAS while the cache is empty.
const overviewWait = 2 * time.Second

// Overview is the current state for users and metrics. It costs the NAS no calls except for a query of the list of VMs after
// a (re)connection, which all callers share.
type Overview struct {
	ID, Dataset  string
	NAS          truenas.Status
	Release      string    // "25.10"; empty before the first connection
	Listed       bool      // the VMs are known; while the NAS is unreachable they have their last known state
	VMs          []Machine // by name
	Jobs         []truenas.Job
	Inventory    InventoryCounts
	Capabilities []Capability
}

// Machine is a VM in an [Overview].
type Machine struct {
	ID        string // the id in the contract
	Name      string
	State     string // the state in TrueNAS's terms
	Managed   bool   // this provider made the VM
	CPUs      int
	MemoryMiB int64
	Addresses []string
}

// InventoryCounts counts the lookups of single VMs since the start.
type InventoryCounts struct {
	Hits   uint64 // answered from memory
	Misses uint64 // passed on to the NAS
}

// Capability is a supported or unsupported feature of the provider.
type Capability struct {
	Name    string
	Offered bool
}

// Overview collects the current state. It never fails, and omits unknown values.
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

// capabilities returns the advertised features, by their names in the contract.
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

// Stock are the resources of the NAS for VMs: its pools and devices.
type Stock struct {
	Pools   []PoolState  // by name
	Devices []HostDevice // PCI devices first
}

// PoolState is a pool with its space.
type PoolState struct {
	Name                 string
	UsedBytes, FreeBytes int64  // of the space for datasets
	Status               string // TrueNAS's status, such as ONLINE; empty when the key may not read it
	Healthy              bool   // set only with a status
	Locked               bool   // the dataset is encrypted, and its key is not loaded
	InUse                bool   // VMs can be placed on it
}

// HostDevice is a device of the NAS that VMs can get.
type HostDevice = hardware.HostDevice

// Stock returns the pools and devices. Like [Server.Images], it queries the NAS at most once a minute for all callers. It omits
// objects that the key may not read.
func (s *Server) Stock(ctx context.Context) Stock {
	ctx, cancel := context.WithTimeout(ctx, overviewWait)
	defer cancel()
	return s.seenStock.look(ctx, s, s.readStock)
}

func (s *Server) readStock(ctx context.Context) (stock Stock, err error) {
	if stock.Pools, err = s.poolStates(ctx); err != nil {
		return stock, err
	}
	// A key without the role for devices still gets the pools.
	stock.Devices, _ = hardware.HostDevices(ctx, s.nas)
	return stock, nil
}

// bootPools are TrueNAS's names for the pool of the system, which holds no VMs.
var bootPools = []string{"boot-pool", "freenas-boot"}

func (s *Server) poolStates(ctx context.Context) ([]PoolState, error) {
	roots, err := s.nas.Datasets.List(ctx, truenas.Cond("id", "~", "^[^/]+$"))
	if err != nil {
		return nil, err
	}
	status := map[string]truenas.Pool{}
	if truenas.Holds(s.nas.Status().Roles, "POOL_READ") {
		pools, err := s.nas.System.Pools(ctx)
		if err != nil {
			return nil, err
		}
		for _, p := range pools {
			status[p.Name] = p
		}
	}
	var list []PoolState
	for _, d := range roots {
		if slices.Contains(bootPools, d.ID) {
			continue
		}
		st := status[d.ID]
		list = append(list, PoolState{
			Name: d.ID, UsedBytes: d.UsedBytes, FreeBytes: d.AvailableBytes, Status: st.Status, Healthy: st.Healthy, Locked: d.Locked,
			InUse: !s.chooses() || slices.Contains(s.cfg.AllowedPools, d.ID),
		})
	}
	slices.SortFunc(list, func(a, b PoolState) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}
