package omni

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/siderolabs/omni/client/pkg/infra/provision"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/omni/machine"
)

// Deprovision removes the machine of a request. Omni calls it after the node has left its cluster, and again until it returns
// nil. Omni does not display its errors, so the health text reports them.
func (p *Provisioner) Deprovision(ctx context.Context, log *zap.Logger, note *machine.Machine, r *infrares.MachineRequest) error {
	id := r.Metadata().ID()
	var spec *machine.MachineSpec
	if note != nil {
		spec = note.TypedSpec().Value
	}
	p.progress.note(id, StepRemoving, p.progress.text(id), nil)
	err := p.release(ctx, log, id, spec)
	var wait waiting
	switch {
	case errors.As(err, &wait):
		p.cfg.Hooks.OnStep(StepRemoving, "waiting")
		return provision.NewRetryInterval(wait.after)
	case err != nil:
		text, _ := userText(err)
		p.progress.note(id, StepRemoving, text, nil)
		p.cfg.Hooks.OnStep(StepRemoving, "retry")
		return provision.NewRetryError(err, p.cfg.Pace.Retry)
	}
	p.progress.forget(id)
	p.pacing.end(id)
	p.cfg.Hooks.OnStep(StepRemoving, "done")
	return nil
}

// shutdowns holds the times at which machines were asked to shut down, to limit the wait. The limit starts again when the program
// restarts.
type shutdowns struct {
	mu    sync.Mutex
	begun map[string]time.Time // by request id
}

// since returns the time at which the release of a request began. For a new request that is now.
func (s *shutdowns) since(id string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun == nil {
		s.begun = map[string]time.Time{}
	}
	if _, ok := s.begun[id]; !ok {
		s.begun[id] = time.Now()
	}
	return s.begun[id]
}

func (s *shutdowns) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.begun, id)
}

// release removes the machines of a request, and reports a failure in the health text. Without a spec it searches all backends
// for the machines.
func (p *Provisioner) release(ctx context.Context, log *zap.Logger, id string, spec *machine.MachineSpec) error {
	err := p.remove(ctx, log, id, spec)
	switch {
	case err == nil:
		p.shutdowns.end(id)
		p.troubles.settle(id)
		p.troubles.set("release "+id, "")
		return nil
	case isWaiting(err):
		return err
	}
	text, _ := userText(err)
	text = id + ": removal of the VM failed: " + text
	p.troubles.set("release "+id, text)
	return errors.New(text)
}

func (p *Provisioner) remove(ctx context.Context, log *zap.Logger, id string, spec *machine.MachineSpec) error {
	found, err := p.find(ctx, id, spec)
	if err != nil {
		return err
	}
	for _, f := range found {
		if err := p.removeMachine(ctx, id, f); err != nil {
			return err
		}
		log.Info("machine removed", zap.String("request_id", id), zap.String("provider", f.backend.name), zap.String("vm", f.vm))
	}
	return nil
}

// located is a machine and its backend.
type located struct {
	backend *backend
	vm      string
}

// find returns the machines of a request: the recorded one, or else all with its name that no other client owns.
func (p *Provisioner) find(ctx context.Context, id string, spec *machine.MachineSpec) ([]located, error) {
	if spec == nil {
		return p.findOwned(ctx, id)
	}
	if spec.GetProvider() == "" || !spec.GetCommitted() && spec.GetVmId() == "" {
		return nil, nil // Create was never called.
	}
	b := p.provider(spec.GetProvider())
	if b == nil {
		return nil, operatorFault{"it is on " + spec.GetProvider() + ", which is not configured as a backend; add --provider " + spec.GetProvider() + "=HOST:PORT"}
	}
	if spec.GetVmId() != "" {
		return []located{{b, spec.GetVmId()}}, nil
	}
	vms, err := b.list(ctx, 0)
	if err != nil {
		return nil, err
	}
	var found []located
	for _, vm := range vms {
		if vm.GetName() == id && !p.mark().belongsToOther(vm) && !(spec.GetNameTaken() && !p.mark().owns(vm)) {
			found = append(found, located{b, vm.GetId()})
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	return p.findInterrupted(ctx, id, spec, b)
}

// findInterrupted returns the machine that an interrupted Create was about to make: its dataset may exist without a VM, and Delete
// removes that. A dry run reports the id, which depends only on the owner, so any class will do. A backend without dry runs, or
// that refuses this one, has no such machine as far as the adapter can know.
func (p *Provisioner) findInterrupted(ctx context.Context, id string, spec *machine.MachineSpec, b *backend) ([]located, error) {
	if _, err := b.capabilities(ctx); err != nil || !b.hasExtension(extensionDryRun) {
		return nil, err
	}
	req := Class{Cores: 1, MemoryMiB: minMemoryMiB, DiskGiB: minDiskGiB, StoragePool: spec.GetStoragePool()}.createRequest(id, "", nil, nil)
	req.ImageJson, req.NetworksJson, req.Owner, req.Tags = "", "", p.ownerOf(id), p.mark().tags()
	resp, err := call(metadata.AppendToOutgoingContext(ctx, headerDryRun, "true"), b, askTimeout, b.client.Create, req)
	switch {
	case err == nil:
		return []located{{b, resp.GetId()}}, nil
	case slices.Contains([]codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.Aborted}, codeOf(err)):
		return nil, err
	}
	return nil, nil
}

// findOwned searches all backends for machines that provably belong to a request.
func (p *Provisioner) findOwned(ctx context.Context, id string) ([]located, error) {
	var found []located
	for _, b := range p.providers {
		vms, err := b.list(ctx, 0)
		if err != nil {
			return nil, err
		}
		for _, vm := range vms {
			if vm.GetName() == id && p.mark().owns(vm) {
				found = append(found, located{b, vm.GetId()})
			}
		}
	}
	return found, nil
}

// removeMachine shuts a machine down, deletes it and verifies the deletion. It calls Delete even if Describe does not find the
// machine, because an earlier attempt may have removed the machine and not its disks.
func (p *Provisioner) removeMachine(ctx context.Context, id string, m located) error {
	found, err := m.backend.describe(ctx, m.vm)
	// A backend that cannot read the machine's state may still be able to delete it.
	if err == nil && found.GetPowerState() == stateOn && time.Since(p.shutdowns.since(id)) < p.cfg.StopTimeout {
		// The next run repeats the request and checks whether the guest has shut down. Delete switches off a guest that ignores it.
		if _, err := m.backend.power(ctx, m.vm, providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL, p.cfg.StopTimeout); err == nil {
			return waiting{after: p.cfg.Pace.Poll}
		}
	}
	return p.deleteMachine(ctx, m)
}

func (p *Provisioner) deleteMachine(ctx context.Context, m located) error {
	resp, err := call(ctx, m.backend, deleteTimeout, m.backend.client.Delete, &providerv1.DeleteRequest{Id: m.vm})
	if err != nil && !isNotFound(err) {
		return err
	}
	if task := resp.GetTask().GetId(); task != "" {
		switch done, err := m.backend.taskDone(ctx, task); {
		case err != nil:
			return err
		case !done:
			return waiting{after: p.cfg.Pace.Poll}
		}
	}
	found, err := m.backend.describe(ctx, m.vm)
	switch {
	case isNotFound(err) || err == nil && !found.GetExists():
		return nil
	case err != nil:
		return err
	}
	return operatorFault{m.backend.name + " still has the VM after its deletion. Will be retried"}
}

// isNotFound reports whether the backend returned NotFound.
func isNotFound(err error) bool { return err != nil && codeOf(err) == codes.NotFound }
