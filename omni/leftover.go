package omni

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	omnires "github.com/siderolabs/omni/client/pkg/omni/resources/omni"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// Leftover is a VM of this provider that has no machine request in Omni. Such VMs remain when the provider is deleted in Omni
// before its machines have joined.
type Leftover struct {
	Request string // id of the machine request that the VM was created for
	Backend string
	VM      string // its id
	Power   string // such as "On" or "Off"
}

// Leftovers finds and removes leftovers, either with the backends' information alone or compared with Omni's requests.
type Leftovers struct {
	ID       string // of the provider in Omni
	Origin   string // as in [Config]
	Backends []Backend
	State    state.State // Omni; nil: not compared, because the provider was deleted there
}

// Find lists the leftovers of every backend. It fails if a backend or Omni cannot be read, because an incomplete list would look
// like a clean NAS.
func (l Leftovers) Find(ctx context.Context) ([]Leftover, error) {
	var list []Leftover
	for _, b := range l.Backends {
		resp, err := b.Client.ListVMs(ctx, &providerv1.ListVMsRequest{})
		if err != nil {
			return nil, fmt.Errorf("list of VMs on %s failed: %w", b.Name, err)
		}
		for _, vm := range resp.GetVms() {
			if l.mark().owns(vm) {
				list = append(list, Leftover{Request: vm.GetName(), Backend: b.Name, VM: vm.GetId(), Power: vm.GetPowerState()})
			}
		}
	}
	// Read the requests after the VMs, so that the VM of a new request does not count as a leftover.
	requested, err := l.requested(ctx)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(v Leftover) bool { return requested[v.Request] })
	slices.SortFunc(list, func(a, b Leftover) int {
		return cmp.Or(cmp.Compare(a.Backend, b.Backend), cmp.Compare(a.Request, b.Request))
	})
	return list, nil
}

// Remove deletes the leftovers of the named requests with their disks. It checks all names before the first removal.
func (l Leftovers) Remove(ctx context.Context, requests []string) ([]Leftover, error) {
	list, err := l.Find(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range requests {
		if !slices.ContainsFunc(list, func(v Leftover) bool { return v.Request == name }) {
			return nil, fmt.Errorf("%q is not a leftover; leftovers: %s", name, or(strings.Join(names(list), ", "), "none"))
		}
	}
	p := &Provisioner{}
	var removed []Leftover
	for _, v := range list {
		if !slices.Contains(requests, v.Request) {
			continue
		}
		if err := p.deleteMachine(ctx, located{l.backend(v.Backend), v.VM}); err != nil {
			return removed, fmt.Errorf("removal of %s on %s failed: %w", v.Request, v.Backend, err)
		}
		removed = append(removed, v)
	}
	return removed, nil
}

func names(list []Leftover) []string {
	all := make([]string, 0, len(list))
	for _, v := range list {
		all = append(all, v.Request)
	}
	return all
}

func (l Leftovers) mark() mark {
	return (&Provisioner{cfg: Config{ID: l.ID, Origin: l.Origin}}).mark()
}

func (l Leftovers) backend(name string) *backend {
	for _, b := range l.Backends {
		if b.Name == name {
			return &backend{name: b.Name, client: b.Client}
		}
	}
	return nil
}

// requested returns the ids of the provider's machine requests in Omni.
func (l Leftovers) requested(ctx context.Context) (map[string]bool, error) {
	ids := map[string]bool{}
	if l.State == nil {
		return ids, nil
	}
	requests, err := safe.StateListAll[*infrares.MachineRequest](ctx, l.State, state.WithLabelQuery(resource.LabelEqual(omnires.LabelInfraProviderID, l.ID)))
	if err != nil {
		return nil, fmt.Errorf("list of machine requests failed: %w", ExplainRejection(err, l.ID))
	}
	for r := range requests.All() {
		ids[r.Metadata().ID()] = true
	}
	return ids, nil
}
