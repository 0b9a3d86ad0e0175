package omni

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	omnires "github.com/siderolabs/omni/client/pkg/omni/resources/omni"
	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// The contract's power states.
const (
	stateOn  = "On"
	stateOff = "Off"
)

// startMachine switches the machine on and waits until it runs.
func (p *Provisioner) startMachine(ctx context.Context, r *request) error {
	class, err := r.class()
	if err != nil {
		return err
	}
	b, err := p.ensureMachine(ctx, r, class)
	if err != nil {
		return err
	}
	if err := p.patch(ctx, r, class); err != nil {
		return err
	}
	found, err := b.describe(ctx, r.spec.VmId)
	if err != nil && codeOf(err) != codes.NotFound {
		return err
	}
	if !found.GetExists() {
		return p.recreate(r)
	}
	r.spec.Disks = volumesOf(found.GetProviderRawJson())
	if found.GetPowerState() == stateOn {
		return nil
	}
	_, err = b.power(ctx, r.spec.VmId, providerv1.PowerOp_POWER_OP_ON, 0)
	switch {
	case codeOf(err) == codes.NotFound && err != nil:
		return p.recreate(r)
	case codeOf(err) == codes.ResourceExhausted:
		return p.releaseForMemory(ctx, r, class, b, err)
	case err != nil:
		return err
	}
	return p.running(ctx, r, b)
}

// running waits until the backend reports the machine as running.
func (p *Provisioner) running(ctx context.Context, r *request, b *backend) error {
	found, err := b.describe(ctx, r.spec.VmId)
	switch {
	case err != nil:
		return err
	case found.GetPowerState() != stateOn:
		return waiting{after: p.cfg.Pace.Poll}
	}
	return nil
}

// recreate clears the record of a machine that was deleted during its creation, so that the next run creates it again.
func (p *Provisioner) recreate(r *request) error {
	r.log.Info("VM is gone, creating it again")
	r.spec.VmId, r.spec.CreateTask = "", ""
	return waiting{after: immediately}
}

// releaseForMemory removes a machine that does not fit into the memory of its backend, when another backend may have enough.
func (p *Provisioner) releaseForMemory(ctx context.Context, r *request, class Class, b *backend, cause error) error {
	if class.Provider != "" || len(p.providers) == 1 {
		return cause
	}
	if _, err := call(ctx, b, deleteTimeout, b.client.Delete, &providerv1.DeleteRequest{Id: r.spec.VmId}); err != nil {
		return err
	}
	r.spec.VmId = ""
	return p.reassign(ctx, r, class, b, cause)
}

// volumesOf returns the machine's volumes, or nil when the backend does not report them.
func volumesOf(raw string) []string {
	var data map[string]string
	if json.Unmarshal([]byte(raw), &data) != nil || data["volumes"] == "" {
		return nil
	}
	return strings.Split(data["volumes"], ",")
}

// awaitJoin waits until the machine has joined Omni, if the configuration requires it.
func (p *Provisioner) awaitJoin(ctx context.Context, r *request) error {
	if !p.cfg.WaitForJoin {
		return nil
	}
	joined, err := p.joined(ctx, r.id)
	if err != nil {
		return err
	}
	if joined[r.id] {
		return nil
	}
	if err := p.keepRunning(ctx, r); err != nil {
		return err
	}
	return waiting{after: 10 * p.cfg.Pace.Poll}
}

// keepRunning creates a machine again that was deleted before it joined, and starts one that is off, unless the configuration
// leaves it off. The comparison of machines with requests does that only after the last step.
func (p *Provisioner) keepRunning(ctx context.Context, r *request) error {
	if b := p.provider(r.spec.Provider); b != nil && r.spec.VmId != "" {
		found, err := b.describe(ctx, r.spec.VmId)
		switch {
		case err != nil && codeOf(err) != codes.NotFound:
			return err
		case found.GetExists() && (found.GetPowerState() != stateOff || p.cfg.LeaveStopped):
			return nil
		}
	}
	return p.startMachine(ctx, r)
}

// joined returns the ids of requests whose machine has joined Omni. An empty id selects all requests.
func (p *Provisioner) joined(ctx context.Context, id string) (map[string]bool, error) {
	query := resource.LabelExists(omnires.LabelMachineRequest)
	if id != "" {
		query = resource.LabelEqual(omnires.LabelMachineRequest, id)
	}
	list, err := safe.StateListAll[*infrares.MachineRegistration](ctx, p.cfg.State, state.WithLabelQuery(query))
	if err != nil {
		return nil, err
	}
	joined := map[string]bool{}
	for registration := range list.All() {
		request, _ := registration.Metadata().Labels().Get(omnires.LabelMachineRequest)
		joined[request] = true
	}
	return joined, nil
}
