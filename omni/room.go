package omni

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/omni/machine"
)

// freeMemory returns the MiB that the NAS of a backend can give to VMs now, or a negative value if the backend does not report
// it. The cached value is never older than the list of machines, so a machine that runs in the list already has its memory.
func (b *backend) freeMemory(ctx context.Context) int64 {
	if _, err := b.capabilities(ctx); err != nil || !b.hasExtension(extensionMemory) {
		return -1
	}
	b.mu.Lock()
	free, fresh := b.freeMiB, time.Since(b.freeRead) < listAge && b.freeRead.After(b.listed)
	b.mu.Unlock()
	if fresh {
		return free
	}
	var header metadata.MD
	_, err := call(metadata.AppendToOutgoingContext(ctx, headerMemory, "true"), b, askTimeout,
		func(ctx context.Context, req *providerv1.GetCapabilitiesRequest, opts ...grpc.CallOption) (*providerv1.GetCapabilitiesResponse, error) {
			return b.client.GetCapabilities(ctx, req, append(opts, grpc.Header(&header))...)
		}, &providerv1.GetCapabilitiesRequest{})
	free, wrong := strconv.ParseInt(strings.Join(header.Get(headerMemory), ""), 10, 64)
	if err != nil || wrong != nil || free < 0 {
		free = -1
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.freeMiB, b.freeRead = free, time.Now()
	return free
}

// use is the resources that the machines of a backend use.
type use struct {
	silent    bool  // the backend does not list its VMs
	domain    int   // machines of the same set in its failure domain
	same, all int   // machines, of the same set and of all
	memory    int64 // MiB of all VMs on the NAS, running or not
	free      int64 // MiB left when all machines run; unset where unknown
	fits      bool
}

// compare sorts the better backend for the next machine first. It compares, in this order: whether the machine fits into the free
// memory, whether the backend responds, the machines of the set in the failure domain and on the backend, free memory, the memory
// of all VMs, and the machines on the backend.
func (u use) compare(other use) int {
	return cmp.Or(
		trueFirst(u.fits, other.fits), trueFirst(!u.silent, !other.silent), cmp.Compare(u.domain, other.domain), cmp.Compare(u.same, other.same),
		cmp.Compare(other.free, u.free), cmp.Compare(u.memory, other.memory), cmp.Compare(u.all, other.all),
	)
}

func trueFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// leastUsed returns the backend for the next machine: the best one by [use.compare], and the first one among equals. Free memory
// counts only if all backends report it.
func (p *Provisioner) leastUsed(ctx context.Context, candidates []*backend, class Class, set string, others map[string]*machine.MachineSpec) *backend {
	if len(candidates) == 1 {
		return candidates[0]
	}
	uses := make([]use, len(candidates))
	known := true
	for i, b := range candidates {
		uses[i] = b.usedBy(ctx, class, set, others)
		uses[i].domain = p.inDomain(b.domain, set, others)
		free := b.freeMemory(ctx)
		uses[i].free += free
		known = known && free >= 0
	}
	best := 0
	for i := range uses {
		if uses[i].fits = !known || uses[i].free >= class.MemoryMiB; !known {
			uses[i].free = 0
		}
		if uses[i].compare(uses[best]) < 0 {
			best = i
		}
	}
	return candidates[best]
}

// inDomain counts the machines of a set in a failure domain, including those of unreachable backends.
func (p *Provisioner) inDomain(domain, set string, others map[string]*machine.MachineSpec) int {
	n := 0
	for _, other := range others {
		if b := p.provider(other.GetProvider()); b != nil && b.domain == domain && other.GetRequestSet() == set {
			n++
		}
	}
	return n
}

// usedBy returns the resources that the machines of a backend use. Its free field is negative: the memory that stopped machines
// will take. A machine that does not exist yet counts as one of the class.
func (b *backend) usedBy(ctx context.Context, class Class, set string, others map[string]*machine.MachineSpec) use {
	var u use
	vms, err := b.list(ctx, listAge)
	u.silent = err != nil // Prefer a backend that responds.
	for _, vm := range vms {
		u.memory += vm.GetMemoryMib()
	}
	for _, other := range others {
		if other.GetProvider() != b.name {
			continue
		}
		u.all++
		if other.GetRequestSet() == set {
			u.same++
		}
		i := slices.IndexFunc(vms, func(vm *providerv1.VMInfo) bool { return vm.GetId() == other.GetVmId() })
		switch {
		case i < 0:
			u.free -= class.MemoryMiB
		case vms[i].GetPowerState() != stateOn:
			u.free -= vms[i].GetMemoryMib()
		}
	}
	return u
}
