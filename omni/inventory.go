package omni

import (
	"context"
	"fmt"
	"sync"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	omnires "github.com/siderolabs/omni/client/pkg/omni/resources/omni"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/omni/machine"
)

// inventory is the state of both sides: machines on the backends, and requests in Omni. The machines are read first, so that a
// machine without a request belongs to a removed request and not to a new one.
type inventory struct {
	vms      map[*backend][]*providerv1.VMInfo // a backend that did not respond has no entry
	requests map[string]*infrares.MachineRequest
	statuses map[string]*infrares.MachineRequestStatus
	notes    map[string]*machine.Machine
	joined   map[string]bool
}

// take reads both sides. It fails when Omni cannot be read completely, and leaves out a backend that does not respond.
func (p *Provisioner) take(ctx context.Context) (*inventory, error) {
	inv := &inventory{vms: p.listAll(ctx), requests: map[string]*infrares.MachineRequest{}, statuses: map[string]*infrares.MachineRequestStatus{}, notes: map[string]*machine.Machine{}}
	ours := state.WithLabelQuery(resource.LabelEqual(omnires.LabelInfraProviderID, p.cfg.ID))
	requests, err := safe.StateListAll[*infrares.MachineRequest](ctx, p.cfg.State, ours)
	if err != nil {
		return nil, fmt.Errorf("list of machine requests failed: %w", err)
	}
	for r := range requests.All() {
		inv.requests[r.Metadata().ID()] = r
	}
	statuses, err := safe.StateListAll[*infrares.MachineRequestStatus](ctx, p.cfg.State, ours)
	if err != nil {
		return nil, fmt.Errorf("list of the statuses of machine requests failed: %w", err)
	}
	for s := range statuses.All() {
		inv.statuses[s.Metadata().ID()] = s
	}
	notes, err := safe.StateListAll[*machine.Machine](ctx, p.cfg.State)
	if err != nil {
		return nil, fmt.Errorf("read of machine records from Omni failed: %w", err)
	}
	for n := range notes.All() {
		inv.notes[n.Metadata().ID()] = n
	}
	if inv.joined, err = p.joined(ctx, ""); err != nil {
		return nil, fmt.Errorf("list of joined machines failed: %w", err)
	}
	return inv, nil
}

// listAll lists the machines of every backend that responds. The health check reports the others.
func (p *Provisioner) listAll(ctx context.Context) map[*backend][]*providerv1.VMInfo {
	var mu sync.Mutex
	var wait sync.WaitGroup
	all := map[*backend][]*providerv1.VMInfo{}
	for _, b := range p.providers {
		wait.Go(func() {
			if vms, err := b.list(ctx, 0); err == nil {
				mu.Lock()
				defer mu.Unlock()
				all[b] = vms
			}
		})
	}
	wait.Wait()
	return all
}
