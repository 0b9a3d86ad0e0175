package omni

import (
	"context"

	"github.com/siderolabs/omni/client/pkg/infra/provision"
	"go.uber.org/zap"

	"virtrigaud-provider-truenas/omni/machine"
)

// stepCount is the number of steps. The hazard tests cover each of them.
const stepCount = 6

type stepContext = provision.Context[*machine.Machine]

// around runs f around each step, so that a test can inject a fault before or after it.
func around(f func(i int, pctx stepContext, run func() error) error) func(provisioner) provisioner {
	return func(p provisioner) provisioner { return wrapped{p, f} }
}

type wrapped struct {
	provisioner
	around func(i int, pctx stepContext, run func() error) error
}

func (w wrapped) ProvisionSteps() []provision.Step[*machine.Machine] {
	steps := w.provisioner.ProvisionSteps()
	for i, step := range steps {
		steps[i] = provision.NewStep(step.Name(), func(ctx context.Context, log *zap.Logger, pctx stepContext) error {
			return w.around(i, pctx, func() error { return step.Run(ctx, log, pctx) })
		})
	}
	return steps
}
