package omni

import (
	"context"
	"errors"
	"time"

	"github.com/siderolabs/omni/client/pkg/infra/provision"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"virtrigaud-provider-truenas/omni/machine"
)

// provisioner is the interface that the SDK calls.
type provisioner = provision.Provisioner[*machine.Machine]

// request is a machine request in progress with its machine record.
type request struct {
	provision.Context[*machine.Machine]
	id   string
	spec *machine.MachineSpec
	log  *zap.Logger
}

// ProvisionSteps returns the steps of a request with the names that Omni displays. Omni stores the name of the current step, so
// the names are a file format: add at the end, never rename, never remove.
func (p *Provisioner) ProvisionSteps() []provision.Step[*machine.Machine] {
	return []provision.Step[*machine.Machine]{
		p.step("check the machine class", p.checkClass),
		p.step("prepare the Talos image", p.prepareImage),
		p.step("create the virtual machine", p.createMachine),
		p.step("write its configuration", p.writePatches),
		p.step("start the virtual machine", p.startMachine),
		p.step("wait for it to join", p.awaitJoin),
	}
}

// step turns a function into a step of the SDK.
//
// The SDK saves the record of a step that returns a retry error, and drops the changes of one that returns a plain error. It
// shows a plain error as a failure and retries after a minute. Therefore step returns a plain error only if the error is final
// and the record is unchanged. A changed record is saved first, and the step runs again at once.
func (p *Provisioner) step(name string, run func(context.Context, *request) error) provision.Step[*machine.Machine] {
	return provision.NewStep(name, func(ctx context.Context, log *zap.Logger, pctx provision.Context[*machine.Machine]) error {
		r := &request{Context: pctx, id: pctx.GetRequestID(), spec: pctx.State.TypedSpec().Value, log: log}
		before := proto.Clone(r.spec)
		p.progress.note(r.id, name, p.progress.text(r.id), nil)
		err := run(ctx, r)
		p.reportStep(name, r, err)
		var wait waiting
		if errors.As(err, &wait) {
			return p.rerun(r.id, name, wait)
		}
		p.pacing.end(r.id)
		if err == nil {
			p.troubles.settle(r.id)
			return nil
		}
		text, final := userText(err)
		p.troubles.noteStep(r.id, err, text)
		switch {
		case !final:
			return provision.NewRetryError(errors.New(text), p.cfg.Pace.Retry)
		case !proto.Equal(before, r.spec):
			return provision.NewRetryError(errors.New(text), immediately)
		}
		return errors.New(text)
	})
}

// rerun makes the SDK run a step again after a while, and show the progress until then.
func (p *Provisioner) rerun(request, step string, w waiting) error {
	after, progress := p.pacing.next(request, step, w, p.cfg.Pace)
	if progress == "" {
		return provision.NewRetryInterval(after)
	}
	return provision.NewRetryError(errors.New(progress), after)
}

// reportStep reports the result of a step to the overview and to metrics.
func (p *Provisioner) reportStep(step string, r *request, err error) {
	text, result := "", "done"
	var wait waiting
	if errors.As(err, &wait) {
		text, result = wait.progress, "waiting"
	} else if err != nil {
		said, final := userText(err)
		text, result = said, "retry"
		if final {
			result = "failed"
		}
	}
	p.progress.note(r.id, step, text, func(known *Request) {
		known.Provider, known.VM = r.spec.GetProvider(), r.spec.GetVmId()
	})
	p.cfg.Hooks.OnStep(step, result)
}

// immediately is the shortest interval that the SDK treats as one.
const immediately = 10 * time.Millisecond

// class is the class of the request.
func (r *request) class() (Class, error) { return parseClass(r.UnmarshalProviderData) }

// checkClass refuses an impossible machine, and chooses the backend.
func (p *Provisioner) checkClass(ctx context.Context, r *request) error {
	class, err := r.class()
	if err != nil {
		return err
	}
	if err := p.checkTalos(ctx, r, class); err != nil {
		return err
	}
	b, err := p.place(ctx, r, class)
	if err != nil {
		return err
	}
	if err := p.tryMachine(ctx, r, class, b); err != nil {
		return p.reassign(ctx, r, class, b, err)
	}
	return nil
}

// prepareImage prepares the image on the machine's backend. Then it marks the request as committed: from now on there may be a
// machine to clean up.
func (p *Provisioner) prepareImage(ctx context.Context, r *request) error {
	class, err := r.class()
	if err != nil {
		return err
	}
	b, err := p.place(ctx, r, class)
	if err != nil {
		return err
	}
	if err := p.ensureImage(ctx, r, class, b); err != nil {
		return p.reassign(ctx, r, class, b, err)
	}
	r.spec.Committed = true
	return nil
}

// createMachine creates the machine.
func (p *Provisioner) createMachine(ctx context.Context, r *request) error {
	class, err := r.class()
	if err != nil {
		return err
	}
	_, err = p.ensureMachine(ctx, r, class)
	return err
}

// writePatches writes the patches that the request adds to Omni's configuration.
func (p *Provisioner) writePatches(ctx context.Context, r *request) error {
	class, err := r.class()
	if err != nil {
		return err
	}
	return p.patch(ctx, r, class)
}
